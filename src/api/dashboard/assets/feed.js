// Pages as they are committed, the newest first. Bounded, drawn a few times a second, held by a button.

import { h, say } from "./dom.js";
import { bytes, clock, count, milliseconds, words } from "./format.js";
import { outward, shown } from "./text.js";

/** Lines that are kept. */
const MOST = 100;
/** Drawn after so long: a fast crawl commits hundreds a second. */
const DRAW = 300;

export class Feed {
  #waiting = [];
  #held = false;
  #timer = null;
  #missed = 0;
  #filter = "all";

  constructor() {
    this.list = h("ol", { class: "feed", role: "log", "aria-live": "off", "aria-labelledby": "feed", tabindex: 0 });
    this.empty = h("p", { class: "quiet-text empty" }, "Pages appear here as they are committed.");
    this.hold = h("button", { type: "button", class: "plain small", "aria-pressed": "false", onclick: () => this.#toggle() }, "Hold");
    const only = h("select", { "aria-label": "Show", class: "small", onchange: () => this.#only(only.value) },
      [["all", "All pages"], ["fetched", "Fetched"], ["failed", "Failed"], ["skipped", "Skipped"]].map(([value, label]) => h("option", { value }, label)));
    this.node = h("section", { class: "card feed-card", "aria-labelledby": "feed" },
      h("div", { class: "card-head" }, h("h2", { id: "feed" }, "Pages"), h("div", { class: "buttons" }, only, this.hold)),
      this.empty, this.list);
  }

  add(event) {
    this.#waiting.push(event);
    if (this.#waiting.length > MOST) { this.#waiting.shift(); this.#missed += 1; }
    if (this.#held) say(this.hold, `Go on (${count(this.#waiting.length + this.#missed)})`);
    else this.#timer ??= setTimeout(() => this.#draw(), DRAW);
  }

  /** A sentence between the lines: messages were lost. */
  remark(text) {
    this.add({ remark: text, at: new Date().toISOString() });
  }

  get filled() { return this.list.childElementCount > 0; }

  end() { clearTimeout(this.#timer); }

  #toggle() {
    this.#held = !this.#held;
    this.hold.setAttribute("aria-pressed", String(this.#held));
    say(this.hold, this.#held ? "Go on" : "Hold");
    if (!this.#held) this.#draw();
  }

  #only(filter) {
    this.#filter = filter;
    for (const line of this.list.children) line.hidden = !this.#fits(line);
  }

  #fits(line) {
    return this.#filter === "all" || line.dataset.outcome === this.#filter;
  }

  #draw() {
    this.#timer = null;
    const events = this.#waiting.splice(0);
    if (this.#missed) {
      events.unshift({ remark: `${count(this.#missed)} more pages in between`, at: events[0]?.at });
      this.#missed = 0;
    }
    // What somebody reads further down stays where it is.
    const [before, above] = [this.list.scrollHeight, this.list.scrollTop];
    const lines = events.reverse().map((event) => (event.remark ? remark(event) : line(event)));
    for (const node of lines) node.hidden = !this.#fits(node);
    this.list.prepend(...lines);
    while (this.list.childElementCount > MOST) this.list.lastElementChild.remove();
    if (above > 4) this.list.scrollTop = above + this.list.scrollHeight - before;
    this.empty.hidden = this.filled;
  }
}

function remark({ remark: text }) {
  return h("li", { class: "remark" }, text);
}

const SIGN = { fetched: "✓", failed: "✕", skipped: "↷" };

function line({ page, at }) {
  const outcome = page.outcome ?? "fetched";
  const what = page.failure_class ?? page.skip_reason;
  const facts = [page.http_status, page.duration_ms !== null && page.duration_ms !== undefined && milliseconds(page.duration_ms), page.bytes ? bytes(page.bytes) : null,
    page.attempt > 1 && `try ${page.attempt}`, page.kind === "sitemap" && "sitemap"].filter(Boolean);
  const heading = page.title ? shown(page.title, 160) : null;
  heading?.classList.add("feed-title");
  const url = outward(page.url ?? "", 220);
  url.classList.add("feed-url");
  const error = page.error ? shown(page.error, 200) : null;
  return h("li", { data: { outcome } },
    h("span", { class: "feed-sign", "aria-hidden": "true" }, SIGN[outcome] ?? "•"),
    h("div", { class: "feed-text" }, heading, url, error && h("span", { class: "feed-error" }, error)),
    h("div", { class: "feed-facts" }, h("span", { class: "feed-outcome" }, what ? words(what) : outcome),
      h("span", { class: "number" }, facts.join(" · ")), h("time", { datetime: at, class: "number" }, clock(at))));
}

