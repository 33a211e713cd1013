// A new crawl from its first addresses and the few settings that most crawls need.

import { api } from "./api.js";
import { ask, field, lines } from "./dialog.js";
import { h } from "./dom.js";

const options = (pairs) => pairs.map(([value, label]) => h("option", { value }, label));

export function newCrawl() {
  const seeds = h("textarea", { name: "seeds", rows: 3, required: true, placeholder: "https://example.org/", spellcheck: "false", dir: "ltr" });
  const scope = h("select", {}, options([["", "As configured"], ["page", "This page only"], ["prefix", "Below its path"], ["host", "Its host"], ["domain", "Its domain"]]));
  const mode = h("select", {}, options([["", "As configured"], ["browser", "Browser"], ["http", "Plain HTTP"], ["auto", "Whichever a page needs"]]));
  const most = h("input", { type: "number", min: 1, step: 1, inputmode: "numeric", placeholder: "No limit" });
  const delay = h("input", { type: "text", pattern: "\\d+(ms|s|m)", placeholder: "250ms", dir: "ltr" });
  const fresh = h("input", { type: "checkbox" });
  ask({
    heading: "New crawl",
    fields: [
      field("Addresses to begin with", seeds, "One a line."),
      h("div", { class: "pair" }, field("Follow links within", scope), field("Pages are fetched by", mode)),
      h("div", { class: "pair" }, field("Pages at most", most, "The session can be continued past it."), field("Pause at each host", delay, "Between two requests: 250ms, 2s …")),
      field("Start anew although the same crawl is unfinished", fresh),
    ],
    button: "Start",
    act: async () => {
      const task = { seeds: lines(seeds.value) };
      if (scope.value) task.scope = { preset: scope.value };
      if (mode.value) task.fetch = { mode: mode.value };
      if (most.value) task.limits = { max_pages: Number(most.value) };
      if (delay.value) task.politeness = { delay: delay.value };
      const submitted = await api.submit(task, fresh.checked);
      location.hash = `#/s/${encodeURIComponent(submitted.session_id)}`;
      return submitted.joined ? "The same crawl is unfinished already: here it is." : "The crawl has started.";
    },
  });
}
