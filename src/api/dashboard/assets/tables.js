// Hosts with their delays and breakers, failures by class and host, and the files to take away.

import { outputPath } from "./api.js";
import { h, keyed, say } from "./dom.js";
import { bytes, count, duration, milliseconds, words } from "./format.js";
import { put, shown } from "./text.js";

const BREAKERS = { closed: "closed", open: "open", half_open: "half open" };

function table(id, columns, body) {
  const head = h("tr", {}, columns.map(([label, numeric]) => h("th", { scope: "col", class: numeric && "number" }, label)));
  return h("div", { class: "scroll", tabindex: 0, role: "region", "aria-labelledby": id }, h("table", { class: "wide" }, h("thead", {}, head), body));
}

function untilText(time) {
  const seconds = (Date.parse(time) - Date.now()) / 1000;
  return seconds > 0 ? `for ${duration(seconds)} more` : "a probe may pass";
}

/** Hosts: those with trouble first, then those with most to do. */
export function hosts() {
  const body = h("tbody", {});
  const badge = h("span", { class: "badge" }, "–");
  const empty = h("p", { class: "quiet-text" }, "No host is known yet.");
  const more = h("p", { class: "quiet-text" });
  const box = table("hosts", [["Host"], ["Breaker"], ["Waiting", 1], ["In flight", 1], ["Known", 1], ["Pause", 1], ["First byte", 1]], body);
  const node = h("section", { class: "card", "aria-labelledby": "hosts" }, h("div", { class: "card-head" }, h("h2", { id: "hosts" }, "Hosts ", badge)), empty, box, more);
  return { node, show: ({ hosts: all, next }) => {
    const trouble = (host) => (host.breaker.state === "open" ? 0 : host.breaker.state === "half_open" ? 1 : host.breaker.failures > 0 ? 2 : 3);
    const sorted = [...all].sort((a, b) => trouble(a) - trouble(b) || b.queued + b.in_flight - (a.queued + a.in_flight) || b.discovered - a.discovered);
    say(badge, `${count(all.length)}${next ? "+" : ""}`);
    empty.hidden = all.length > 0;
    box.hidden = all.length === 0;
    say(more, next ? "The first 200 hosts are shown; the API has them all." : "");
    keyed(body, sorted.slice(0, 100), (host) => host.host, hostRow, (row, host) => row.show(host));
  } };
}

function hostRow() {
  const [name, breaker] = [shown("", 80), h("span", { class: "chip" })];
  const why = h("small", { class: "cell-note" });
  const cells = Array.from({ length: 5 }, () => h("td", { class: "number" }));
  const row = h("tr", {}, h("th", { scope: "row" }, name), h("td", {}, breaker, why), cells);
  row.show = (host) => {
    put(name, host.host, 80);
    const { state, failures, open_until: until } = host.breaker;
    breaker.dataset.breaker = state;
    say(breaker, BREAKERS[state] ?? state);
    say(why, state === "open" ? `${count(failures)} failures, ${untilText(until)}` : failures > 0 ? `${count(failures)} ${failures === 1 ? "failure" : "failures"} in a row` : "");
    const waiting = host.suspects ? `${count(host.queued)} + ${count(host.suspects)} suspects` : count(host.queued);
    const texts = [waiting, count(host.in_flight), count(host.discovered), milliseconds(host.delay_ms), milliseconds(host.ema_ttfb_ms)];
    texts.forEach((text, index) => say(cells[index], text));
    cells[3].title = host.crawl_delay_ms ? `Its robots.txt asks for ${milliseconds(host.crawl_delay_ms)}` : "";
  };
  return row;
}

/** Failures: a bar a class, then where. */
export function failures() {
  const classes = h("ul", { class: "bars" });
  const badge = h("span", { class: "badge" }, "0");
  const body = h("tbody", {});
  const sampled = h("p", { class: "quiet-text" });
  const where = h("details", {}, h("summary", {}, "By host"), table("failures", [["Host"], ["Class"], ["URLs", 1]], body), sampled);
  const empty = h("p", { class: "quiet-text" }, "Nothing has failed.");
  const node = h("section", { class: "card", "aria-labelledby": "failures" }, h("div", { class: "card-head" }, h("h2", { id: "failures" }, "Failures ", badge)), empty, classes, where);
  return { node, show: ({ total, by_class: byClass, by_host: byHost, sampled: some }) => {
    const all = Array.isArray(byClass) ? byClass.map((one) => [one.class, one.urls]) : Object.entries(byClass ?? {});
    all.sort((a, b) => b[1] - a[1]);
    const most = Math.max(1, ...all.map(([, urls]) => urls));
    say(badge, count(total));
    empty.hidden = all.length > 0;
    where.hidden = !byHost?.length;
    keyed(classes, all, ([name]) => name, () => h("li", {}, h("span", { class: "bar-name" }), h("span", { class: "bar" }, h("i", {})), h("span", { class: "number" })), (item, [name, urls]) => {
      say(item.children[0], words(name));
      item.children[1].firstChild.style.width = `${(urls / most) * 100}%`;
      say(item.children[2], count(urls));
    });
    keyed(body, (byHost ?? []).slice(0, 100), (group) => `${group.class} ${group.host}`, () => h("tr", {}, h("th", { scope: "row" }, shown("", 80)), h("td", {}), h("td", { class: "number" })), (row, group) => {
      put(row.children[0].firstChild, group.host, 80);
      say(row.children[1], words(group.class));
      say(row.children[2], count(group.urls));
    });
    say(sampled, some < total ? `Of the newest ${count(some)} failures.` : "");
  } };
}

/** Record files, to download. */
export function outputs(id) {
  const list = h("ul", { class: "files" });
  const folder = shown("", 300, "code");
  const node = h("section", { class: "card", "aria-labelledby": "outputs" }, h("h2", { id: "outputs" }, "Outputs"), h("p", { class: "quiet-text" }, "In ", folder), list);
  return { node, show: ({ folder: path, outputs: all }) => {
    put(folder, path);
    keyed(list, all, (file) => file.name, (file) => h("li", {}, h("a", { href: outputPath(id, file.name), download: file.name }, file.name), h("span", { class: "number" })), (item, file) => {
      say(item.children[1], `${bytes(file.bytes)}${file.sealed ? "" : " · being written"}`);
    });
  } };
}

