// What the browser's tabs show now: asked for only while somebody has opened this part and looks at it.

import { api, tabPicture } from "./api.js";
import { h, keyed, say } from "./dom.js";
import { duration, words } from "./format.js";
import { outward, plain, put, shown } from "./text.js";

/** Asked again after so long. */
const EVERY = 2_000;
/** After trouble. */
const LATER = 8_000;

export class Tabs {
  #timer = null;
  #over = false;
  #asking = false;
  #turn = 0;

  constructor(id) {
    this.id = id;
    this.list = h("ul", { class: "tabs" });
    this.word = h("p", { class: "quiet-text" });
    this.node = h("details", { class: "card tabs-card" }, h("summary", {}, h("h2", { id: "tabs" }, "What the tabs show")), this.word, this.list);
    this.node.addEventListener("toggle", () => { this.node.open ? this.#ask() : this.#rest(); });
    this.seen = true;
    this.watcher = new IntersectionObserver(([entry]) => { this.seen = entry.isIntersecting; if (this.seen) this.#ask(); });
    this.watcher.observe(this.node);
  }

  end() {
    this.#over = true;
    this.watcher.disconnect();
    this.#rest();
  }

  #rest() {
    clearTimeout(this.#timer);
    this.#timer = null;
  }

  #next(wait) {
    this.#rest();
    if (!this.#over && this.node.open) this.#timer = setTimeout(() => this.#ask(), wait);
  }

  async #ask() {
    if (this.#over || this.#asking || !this.node.open || !this.seen || document.hidden) return this.#next(EVERY);
    this.#asking = true;
    try {
      const { tabs } = await api.tabs(this.id);
      if (this.#over) return;
      this.#turn += 1;
      say(this.word, tabs.length ? "" : "No tab shows a page now.");
      keyed(this.list, tabs, (tab) => tab.n, (tab) => picture(tab), (node, tab) => node.show(tab, this.id, this.#turn));
      this.#next(EVERY);
    } catch (error) {
      say(this.word, plain(error.message, 300));
      this.#next(LATER);
    } finally {
      this.#asking = false;
    }
  }
}

function picture() {
  const frame = h("div", { class: "frame" });
  const blank = h("p", { class: "quiet-text" }, "No frames are drawn for this page: there is no picture of it");
  frame.append(h("p", { class: "quiet-text" }, "…"));
  const [heading, state] = [shown("", 120), h("small", { class: "cell-note" })];
  const link = h("div", { class: "tab-url" });
  const node = h("li", {}, frame, h("div", { class: "tab-text" }, heading, link, state));
  let loading = null;
  node.show = (tab, id, turn) => {
    put(heading, tab.title || "Without a title", 120);
    if (link.dataset.url !== tab.url) { link.dataset.url = tab.url; link.replaceChildren(outward(tab.url, 160)); }
    say(state, [tab.state && words(tab.state), tab.seconds !== null && tab.seconds !== undefined && `for ${duration(tab.seconds)}`].filter(Boolean).join(" "));
    if (!tab.picture) { frame.replaceChildren(blank); return; }
    if (loading) return;
    // The new picture takes the old one's place when it is there, so nothing flickers.
    loading = new Image();
    const fresh = loading;
    fresh.alt = `What the tab shows: ${plain(tab.title || tab.url, 120)}`;
    fresh.decoding = "async";
    fresh.addEventListener("load", () => { frame.replaceChildren(fresh); loading = null; });
    fresh.addEventListener("error", () => { loading = null; });
    fresh.src = tabPicture(id, tab.n, turn);
  };
  return node;
}
