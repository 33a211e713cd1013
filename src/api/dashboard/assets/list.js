// All sessions: what runs, what rests, and what the last days came to.

import { api } from "./api.js";
import { factors, progress, ring, runs, statusChip, tile, title } from "./bits.js";
import { announce, h, keyed, say } from "./dom.js";
import { ago, bytes, clock, count, duration, percent, rate, short, words } from "./format.js";
import { note } from "./history.js";
import { Live } from "./live.js";
import { newCrawl } from "./newcrawl.js";
import { put, shown } from "./text.js";

const RESTING = new Set(["completed", "cancelled", "migrated"]);
/** Asked for again after so long, with and without the event connection. */
const LIVE = 10_000;
const POLL = 2_000;
const STATS = 60_000;

export class SessionsView {
  #sessions = new Map();
  #more = null;
  #timer = null;
  #over = false;
  #live = false;

  constructor({ main, tell, may, daemon }) {
    this.daemon = daemon;
    document.title = "crawld";
    this.tiles = { running: tile("Running"), rate: tile("Pages a second"), fetched: tile("Pages fetched"), waiting: tile("URLs waiting") };
    this.running = h("ul", { class: "cards" });
    this.none = h("div", { class: "card empty-state", hidden: true },
      h("h3", {}, "Nothing is being crawled"),
      h("p", {}, "Start a crawl here, with ", h("code", {}, "crawld submit"), ", or with a task file in ", h("code", {}, "config/tasks/"), "."));
    this.resting = h("tbody", {});
    this.restingCount = h("span", { class: "badge" }, "0");
    this.restingBox = h("section", { class: "card", "aria-labelledby": "resting", hidden: true },
      h("h2", { id: "resting" }, "Ended ", this.restingCount),
      h("div", { class: "scroll", tabindex: 0, role: "region", "aria-labelledby": "resting" }, h("table", { class: "wide" },
        h("thead", {}, h("tr", {}, ["Task", "Status", "Fetched", "Failed", "Time", "Ended"].map((name, index) => h("th", { scope: "col", class: index > 1 && "number" }, name)))), this.resting)));
    this.moreButton = h("button", { type: "button", class: "plain", hidden: true, onclick: () => this.#load(this.#more) }, "Show older sessions");
    this.days = h("div", { class: "days" });
    this.daysBox = h("section", { class: "card", "aria-labelledby": "days", hidden: true }, h("h2", { id: "days" }, "Last days"), this.days);
    const begin = h("button", { type: "button", class: "primary", onclick: () => newCrawl() }, "New crawl");
    if (!may) { begin.disabled = true; begin.title = "Your token is for reading"; }
    this.main = main;
    // Shown when there is something to show, so that nothing moves afterwards.
    this.parts = [
      h("div", { class: "headline" }, h("h1", {}, "Sessions"), begin),
      h("dl", { class: "tiles" }, Object.values(this.tiles).map(({ node }) => node)),
      h("section", { "aria-label": "Sessions that run or could run" }, this.running, this.none),
      this.restingBox, this.moreButton, this.daysBox];
    this.connection = new Live(null, {
      tell: (state) => { this.#live = state.state === "live"; tell(state, this.connection); this.#next(0); },
      hear: (event) => this.#hear(event),
    });
    this.#stats();
  }

  again() { this.connection.again(); }

  end() {
    this.#over = true;
    clearTimeout(this.#timer);
    clearTimeout(this.statsTimer);
    this.connection.end();
  }

  #next(wait) {
    clearTimeout(this.#timer);
    if (!this.#over) this.#timer = setTimeout(() => this.#load(null), wait);
  }

  async #load(cursor) {
    if (document.hidden && this.#sessions.size) return this.#next(POLL);
    try {
      const { sessions, next } = await api.sessions(cursor);
      if (this.#over) return;
      if (cursor || this.#more === null) this.#more = next ?? false;
      for (const session of sessions) this.#sessions.set(session.session_id, session);
      // What the newest page does not name any more, and should, is gone.
      if (!cursor) {
        const named = new Set(sessions.map((session) => session.session_id));
        const oldest = next ? sessions.at(-1)?.session_start : "";
        for (const [id, session] of this.#sessions) {
          if (!named.has(id) && session.session_start > oldest) this.#sessions.delete(id);
        }
      }
      this.daemon.reached();
      this.#show();
    } catch (error) {
      this.daemon.failed(error);
    }
    this.#next(this.#live ? LIVE : POLL);
  }

  #hear(event) {
    const session = this.#sessions.get(event.session_id);
    if (event.kind === "progress" && session) {
      Object.assign(session, event.progress);
      session.counters = { ...session.counters, ...event.progress?.counters };
      this.#later();
    } else if (event.kind === "health" && session) {
      session.health_score = event.health?.score ?? session.health_score;
      session.health_factors = event.health?.factors ?? session.health_factors;
      this.#later();
    } else if (event.kind === "status") {
      announce(`${session ? title(session) : "A session"} is ${words(event.status?.to)}`);
      this.#next(100);
    } else if (!session && event.session_id && event.kind !== "page") {
      this.#next(500);
    }
  }

  /** Many events, few drawings. */
  #later() {
    this.drawing ??= setTimeout(() => { this.drawing = null; if (!this.#over) this.#show(); }, 400);
  }

  #show() {
    const all = [...this.#sessions.values()].sort((a, b) => (b.session_start ?? "").localeCompare(a.session_start ?? ""));
    const now = Date.now();
    const rank = (session) => (session.status === "active" ? 0 : session.status === "paused" ? 1 : session.status === "queued" ? 2 : 3);
    const current = all.filter((session) => !RESTING.has(session.status)).sort((a, b) => rank(a) - rank(b));
    const ended = all.filter((session) => RESTING.has(session.status));
    for (const session of current) if (session.status === "active") note(session.session_id, now, session.counters);
    const sum = (list, of) => list.reduce((total, session) => total + of(session), 0);
    const active = current.filter((session) => session.status === "active");
    this.tiles.running.show(count(active.length));
    this.tiles.rate.show(rate(sum(active, (session) => session.rates.pages_per_second_1m)));
    this.tiles.fetched.show(short(sum(all, (session) => session.counters.fetched)));
    this.tiles.waiting.show(short(sum(current, (session) => session.counters.queued + session.counters.in_flight)));
    keyed(this.running, current, (session) => session.session_id, card, (node, session) => node.show(session));
    this.none.hidden = current.length > 0;
    this.restingBox.hidden = ended.length === 0;
    say(this.restingCount, String(ended.length));
    keyed(this.resting, ended, (session) => session.session_id, row, (node, session) => node.show(session));
    this.moreButton.hidden = !this.#more;
    if (!this.parts) return;
    this.main.replaceChildren(...this.parts);
    this.parts = null;
  }

  async #stats() {
    try {
      const { days } = await api.stats();
      if (this.#over) return;
      this.daysBox.hidden = days.length === 0;
      this.days.replaceChildren(...calendar(days.slice(0, 14)));
    } catch { /* the rest of the view says that nobody answers */ }
    if (!this.#over) this.statsTimer = setTimeout(() => this.#stats(), STATS);
  }
}

function card() {
  const [name, chip, gauge, bar, why] = [h("a", { class: "card-title" }), statusChip(), ring(52), progress(), factors()];
  const reason = shown("", 300, "p");
  reason.classList.add("reason");
  const facts = { done: tile("Done"), rate: tile("Pages/s"), eta: tile("Time left"), failed: tile("Failed") };
  const line = h("p", { class: "now" });
  const detail = h("details", { class: "why" }, h("summary", {}, "Health in detail"), why.node);
  const node = h("li", { class: "card session-card" },
    h("div", { class: "card-head" }, h("div", { class: "card-name" }, h("h2", {}, name), chip.node), gauge.node),
    reason, bar.node,
    h("dl", { class: "tiles small" }, Object.values(facts).map((fact) => fact.node)),
    line, detail);
  node.show = (session) => {
    put(name, title(session), 120);
    name.href = `#/s/${encodeURIComponent(session.session_id)}`;
    chip.show(session.status);
    gauge.show(runs(session) ? session.health_score : null);
    gauge.node.classList.toggle("away", !runs(session));
    detail.hidden = !runs(session);
    put(reason, session.status_reason ?? words(session.stop_reason));
    reason.hidden = !reason.textContent;
    bar.show(session);
    why.show(session.health_factors);
    facts.done.show(percent(session.estimated_progress));
    facts.rate.show(rate(session.rates.pages_per_second_1m));
    facts.eta.show(duration(session.eta_seconds));
    facts.failed.show(short(session.counters.failed));
    const where = session.current_url ?? `${count(session.counters.fetched)} fetched, ${count(session.counters.queued)} wait`;
    put(line, where, 200);
  };
  return node;
}

function row() {
  const [name, chip] = [h("a", {}), statusChip()];
  const cells = [0, 1, 2, 3].map(() => h("td", { class: "number" }));
  const node = h("tr", {}, h("th", { scope: "row" }, name), h("td", {}, chip.node), cells);
  node.show = (session) => {
    put(name, title(session), 80);
    name.href = `#/s/${encodeURIComponent(session.session_id)}`;
    chip.show(session.status);
    const { counters } = session;
    const end = session.last_heartbeat ?? session.last_checkpoint ?? session.session_start;
    const texts = [count(counters.fetched), count(counters.failed), duration(session.active_seconds), ago(end)];
    texts.forEach((text, index) => say(cells[index], text));
    cells[3].title = clock(end);
  };
  return node;
}

/** A bar a day, with the same in words for who does not see it. */
function calendar(days) {
  const most = Math.max(1, ...days.map((day) => day.fetched + day.failed));
  return [...days].reverse().map((day) => {
    const bar = h("i", {});
    bar.style.height = `${Math.max(2, ((day.fetched + day.failed) / most) * 100)}%`;
    const text = `${day.day}: ${count(day.fetched)} fetched, ${count(day.failed)} failed, ${count(day.sessions_started)} sessions started, ${count(day.crashes)} crashes, ${bytes(day.bytes)}`;
    return h("div", { class: "day", title: text }, h("span", { class: "day-bar" }, bar), h("span", { "aria-hidden": "true" }, day.day.slice(5)), h("span", { class: "unseen" }, text));
  });
}
