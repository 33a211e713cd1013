// One session: where it stands, what it does now, what went wrong, and what can be done.

import { Unreachable, api } from "./api.js";
import { buttons } from "./actions.js";
import { factors, progress, ring, runs, statusChip, tile, title } from "./bits.js";
import { Chart } from "./chart.js";
import { announce, attribute, h, keyed, say } from "./dom.js";
import { Feed } from "./feed.js";
import { ago, bytes, clock, count, duration, percent, rate, short, words } from "./format.js";
import { keep, note, series } from "./history.js";
import { Live } from "./live.js";
import { failures, hosts, outputs } from "./tables.js";
import { Tabs } from "./tabs.js";
import { put, shown } from "./text.js";
import { Timeline, sentence } from "./timeline.js";

/** The session is asked for so often with the event connection, and without. */
const LIVE = 5_000;
const POLL = 2_000;
/** Tables are asked for so often. */
const TABLES = 6_000;
/** The tables may take so long before the view is shown without them. */
const PATIENCE = 500;
/** Commits before the newest heartbeat that the feed begins with. */
const BACK = 30;

export class SessionView {
  #over = false;
  #timers = {};
  #session = null;
  #live = false;
  #status = null;

  constructor(id, { main, tell, may, daemon }) {
    Object.assign(this, { id, main, daemon, tell });
    this.name = h("h1", {}, shown(id, 120));
    this.chip = statusChip();
    this.idText = h("code", { class: "id" }, id);
    this.reason = shown("", 600, "p");
    this.reason.classList.add("reason");
    this.alerts = h("ul", { class: "alerts" });
    this.actions = buttons(this, may);
    this.gauge = ring(76);
    this.why = factors();
    this.bar = progress("full");
    this.tiles = { done: tile("Done"), rate: tile("Pages a second"), eta: tile("Time left"), active: tile("Active"), tabs: tile("Pages in work"), memory: tile("Memory"), commit: tile("Last checkpoint"), bytes: tile("Received") };
    this.now = shown("", 200, "p");
    this.now.classList.add("now");
    this.rateChart = new Chart({ name: "Throughput", unit: "URLs/s", format: rate, colour: "series-rate" });
    this.queueChart = new Chart({ name: "Queue", unit: "URLs", format: short, colour: "series-queue" });
    this.charts = h("section", { class: "card charts", "aria-label": "Over time" }, this.rateChart.node, this.queueChart.node);
    this.feed = new Feed();
    this.tabs = new Tabs(id);
    this.hosts = hosts();
    this.failures = failures();
    this.outputs = outputs(id);
    this.life = new Timeline();
    this.facts = h("dl", { class: "facts" });
    // Shown when there is something to show, so that nothing moves afterwards.
    this.parts = [
      h("nav", { "aria-label": "Where you are", class: "crumbs" }, h("a", { href: "#/" }, "Sessions"), " / ", this.idText),
      h("div", { class: "headline" }, h("div", { class: "headline-name" }, this.name, this.chip.node)),
      this.reason, this.alerts, this.actions.node,
      h("div", { class: "halves top-halves" },
        h("div", { class: "column" },
          h("section", { class: "card", "aria-labelledby": "progress" }, h("h2", { id: "progress" }, "Progress"), this.bar.node,
            h("dl", { class: "tiles small" }, Object.values(this.tiles).map(({ node }) => node)), this.now),
          this.charts),
        h("section", { class: "card", "aria-labelledby": "health" }, h("div", { class: "card-head" }, h("h2", { id: "health" }, "Health"), this.gauge.node), this.why.node)),
      h("div", { class: "halves wide-left" }, this.feed.node, h("div", { class: "column" }, this.failures.node, this.outputs.node)),
      this.tabs.node, this.hosts.node, this.life.node,
      h("section", { class: "card", "aria-labelledby": "facts" }, h("h2", { id: "facts" }, "Facts"), this.facts)];
    this.#begin();
  }

  again() { this.connection ? this.connection.again() : this.refresh(); }

  end() {
    this.#over = true;
    Object.values(this.#timers).forEach(clearTimeout);
    this.connection?.end();
    this.feed.end();
    this.tabs.end();
    keep(this.id);
  }

  /** Asks for everything now. */
  refresh() {
    this.#after("session", 0, () => this.#load());
    this.#after("tables", 300, () => this.#tables());
  }

  #after(name, wait, what) {
    clearTimeout(this.#timers[name]);
    if (!this.#over) this.#timers[name] = setTimeout(what, wait);
  }

  async #begin() {
    await Promise.race([this.#tables(), new Promise((done) => setTimeout(done, PATIENCE))]);
    if (!this.#over) this.#load();
  }

  #connect() {
    if (this.connection || !this.#session) return;
    const beat = this.#session.heartbeat;
    const from = beat ? `${beat.epoch}.${Math.max(0, beat.last_commit_seq - BACK)}.0` : null;
    this.connection = new Live(this.id, {
      from,
      tell: (state) => {
        this.#live = state.state === "live";
        this.tell(state, this.connection);
        this.#after("session", this.#live ? LIVE : 0, () => this.#load());
      },
      hear: (event) => this.#hear(event),
    });
  }

  async #load() {
    if (!(document.hidden && this.#session)) {
      try {
        const session = await api.session(this.id);
        if (this.#over) return;
        this.#session = session;
        this.daemon.reached();
        this.#show();
        this.#connect();
      } catch (error) {
        if (this.#over) return;
        if (error.status === 404) return this.#missing(error);
        this.daemon.failed(error);
        if (!(error instanceof Unreachable)) put(this.reason, error.message, 600);
      }
    }
    this.#after("session", this.#live ? LIVE : POLL, () => this.#load());
  }

  #missing(error) {
    this.end();
    this.tell({ state: "stopped", reason: "unknown_session", text: "There is no such session." });
    this.main.replaceChildren(h("div", { class: "card empty-state" }, h("h1", {}, "There is no such session"), h("p", {}, shown(error.message)), h("p", {}, h("a", { href: "#/" }, "All sessions"))));
  }

  async #tables() {
    if (!document.hidden) {
      const fill = async (ask, part) => {
        try {
          const answer = await ask(this.id);
          if (!this.#over) part(answer);
          return true;
        } catch {
          // A session without a store has no tables; the session itself says what is wrong.
          return false;
        }
      };
      const filled = await Promise.all([fill(api.hosts, this.hosts.show), fill(api.failures, this.failures.show), fill(api.outputs, this.outputs.show), fill(api.epochs, ({ epochs }) => this.life.epochs(epochs))]);
      // What does not change, or cannot be told, is asked for less often.
      const still = this.#session && !["active", "paused", "queued"].includes(this.#session.status);
      this.#after("tables", still || filled.includes(false) ? 10 * TABLES : TABLES, () => this.#tables());
      return;
    }
    this.#after("tables", TABLES, () => this.#tables());
  }

  #hear(event) {
    const session = this.#session;
    if (event.kind === "page") return this.feed.add(event);
    if (event.kind === "lost") return this.feed.remark(`${count(event.count)} messages were lost: this browser did not read fast enough`);
    if (event.kind === "gone") return this.feed.remark("What happened earlier is not kept any more");
    if (event.kind === "progress") {
      const { progress: told } = event;
      Object.assign(session, { rates: told.rates ?? session.rates, eta_seconds: told.eta_seconds });
      session.counters = { ...session.counters, ...told.counters };
      const { discovered, parked, fetched, failed, skipped } = session.counters;
      if (discovered > parked) session.estimated_progress = Math.min(1, (fetched + failed + skipped) / (discovered - parked));
      if (told.visits_active !== undefined) this.tiles.tabs.show(count(told.visits_active));
      return this.#later();
    }
    if (event.kind === "health") {
      session.health_score = event.health?.score ?? session.health_score;
      session.health_factors = event.health?.factors ?? session.health_factors;
      return this.#later();
    }
    if (event.kind === "checkpoint") this.life.checkpoint(event.at, event.checkpoint?.generation);
    const said = sentence(event);
    if (!said) return;
    this.life.happened(event.id ?? `${event.at} ${event.kind}`, event.at ?? new Date().toISOString(), ...said);
    if (event.kind === "alert") announce(said[1]);
    if (event.kind === "status" || event.kind === "alert" || event.kind === "ended") this.refresh();
  }

  /** Many events, few drawings. */
  #later() {
    this.drawing ??= setTimeout(() => { this.drawing = null; if (!this.#over) this.#show(); }, 400);
  }

  #show() {
    const session = this.#session;
    const name = title(session);
    document.title = `${percent(session.estimated_progress)} ${words(session.status)} · crawld`;
    put(this.name.firstChild, name, 120);
    this.chip.show(session.status);
    if (this.#status && this.#status !== session.status) announce(`The session is ${words(session.status)}`);
    this.#status = session.status;
    const reason = session.status_reason ?? (session.stop_reason && session.status !== "completed" ? words(session.stop_reason) : "");
    put(this.reason, reason, 600);
    this.reason.hidden = !reason;
    attribute(this.alerts, "hidden", !session.alerts?.length);
    keyed(this.alerts, session.alerts ?? [], (alert) => alert, (alert) => h("li", {}, words(alert)), () => {});
    this.actions.show(session);
    this.gauge.show(runs(session) ? session.health_score : null);
    this.gauge.node.classList.toggle("away", !runs(session));
    this.why.show(session.health_factors);
    this.bar.show(session);
    this.tiles.done.show(percent(session.estimated_progress));
    this.tiles.rate.show(rate(session.rates.pages_per_second_1m));
    this.tiles.eta.show(duration(session.eta_seconds));
    this.tiles.active.show(duration(session.active_seconds));
    const beat = runs(session) ? session.heartbeat : null;
    this.tiles.memory.show(beat ? bytes(beat.memory_usage_mb * 1024 * 1024) : "–");
    if (!this.#live) this.tiles.tabs.show(beat ? count(session.counters.in_flight) : "–");
    this.tiles.commit.show(session.last_checkpoint ? ago(session.last_checkpoint) : "–");
    this.tiles.bytes.show(bytes(session.counters.bytes));
    put(this.now, session.current_url ?? "");
    if (session.status === "active") note(this.id, Date.now(), session.counters);
    const points = series(this.id);
    // Of a session at rest there is nothing to draw, and no tab shows it.
    this.charts.hidden = !runs(session) && points.length < 2;
    this.tabs.node.hidden = !runs(session);
    this.rateChart.show(points.map(({ at, rate: value }) => ({ at, value })), session.status === "active" ? points.at(-1)?.rate ?? session.rates.pages_per_second_1m : session.rates.pages_per_second_1m);
    this.queueChart.show(points.map(({ at, queue }) => ({ at, value: queue })), session.counters.queued + session.counters.in_flight);
    this.life.checkpoint(session.last_checkpoint, beat?.checkpoint_generation);
    this.#facts(session);
    if (!this.parts) return;
    this.main.replaceChildren(...this.parts);
    this.parts = null;
  }

  #facts(session) {
    const { counters, egress, heartbeat: beat } = session;
    const rows = [
      ["Began", session.session_start && clock(session.session_start)],
      ["Lifetime", `${session.epoch}, since ${session.started_at ? clock(session.started_at) : "–"}`],
      ["Last heartbeat", session.last_heartbeat && ago(session.last_heartbeat)],
      ["Visits, retries included", count(counters.visits)],
      ["Links seen", count(counters.links_seen)],
      ["Links out of scope", count(counters.out_of_scope)],
      ["Skipped", list(session.skips_by_reason)], ["Parked", list(session.parked_by_reason)],
      ["Browser restarts", beat && count(beat.browser_restarts)],
      ["Connections to forbidden addresses", egress && `${count(egress.addresses_refused)} refused of ${count(egress.connections + egress.addresses_refused)}`],
      ["Takes long", beat?.long_operations?.map((one) => `${words(one.what ?? one.kind ?? one.name)} (${duration(one.seconds)})`).join(", ")],
    ].filter(([, value]) => value);
    keyed(this.facts, rows, ([name]) => name, ([name]) => h("div", {}, h("dt", {}, name), h("dd", {}, shown(""))), (node, [, value]) => put(node.lastChild.firstChild, value));
  }
}

const list = (tallies) => Object.entries(tallies ?? {}).map(([name, urls]) => `${words(name)} ${count(urls)}`).join(", ");
