// The life of a session: its lifetimes on a time line, how each ended and what recovery decided, and what happened in between.

import { h, keyed, say } from "./dom.js";
import { ago, clock, count, duration, words } from "./format.js";
import { put, shown } from "./text.js";

/** Happenings that are kept. */
const MOST = 120;

const CRASHES = {
  reboot: "the machine was restarted or lost power", oom: "the kernel ended it for memory", panic: "it ended by a fault of its own",
  watchdog: "the watchdog ended it", killed: "it was killed", browser_loss: "the browser was lost with it", unknown: "nothing tells why", clean: "it closed everything",
};
const DECISIONS = { resume: "continued", restart: "started over", skip: "left as it was" };

/** How a lifetime ended: a kind for its colour, and a sentence. Pure. */
export function ending(epoch) {
  if (!epoch.ended_at) return { kind: "runs", text: "runs" };
  if (epoch.crash_reason && epoch.crash_reason !== "clean") return { kind: "crash", text: `crashed (${words(epoch.crash_reason)}): ${CRASHES[epoch.crash_reason] ?? ""}` };
  if (epoch.stop_reason) return { kind: epoch.stop_reason === "finished" ? "done" : "stop", text: `stopped: ${words(epoch.stop_reason)}` };
  return { kind: "stop", text: "ended" };
}

/** What recovery made of it. Pure. */
export function decided(epoch) {
  if (!epoch.decision) return "";
  return `Recovery: ${DECISIONS[epoch.decision] ?? words(epoch.decision)}, because ${words(epoch.cause)}`;
}

export class Timeline {
  #epochs = [];
  #happened = [];
  #checkpoints = [];

  constructor() {
    this.track = h("div", { class: "track-bar", role: "img", "aria-label": "Lifetimes of the session" });
    this.from = h("span", {});
    this.to = h("span", {});
    this.list = h("ol", { class: "lifetimes" });
    this.events = h("ol", { class: "happened" });
    this.nothing = h("p", { class: "quiet-text" }, "Checkpoints, breakers, alerts and restarts of the browser appear here as they happen.");
    this.node = h("section", { class: "card", "aria-labelledby": "life" }, h("h2", { id: "life" }, "Lifetimes and checkpoints"),
      this.track, h("div", { class: "track-ends number", "aria-hidden": "true" }, this.from, this.to),
      h("div", { class: "halves" }, h("div", {}, h("h3", {}, "Lifetimes"), this.list), h("div", {}, h("h3", {}, "What happened"), this.nothing, this.events)));
  }

  /** Lifetimes, oldest first. */
  epochs(all) {
    this.#epochs = all;
    keyed(this.list, [...all].reverse().slice(0, 50), (epoch) => epoch.epoch, () => {
      const [head, text, decision] = [h("strong", {}), h("span", {}), h("span", { class: "decision" })];
      const item = h("li", {}, h("div", {}, head, " ", text), decision);
      item.show = (epoch) => {
        const { kind, text: said } = ending(epoch);
        item.dataset.kind = kind;
        const end = epoch.ended_at ? Date.parse(epoch.ended_at) : Date.now();
        say(head, `${epoch.epoch}.`);
        say(text, `${clock(epoch.started_at)}, ${duration((end - Date.parse(epoch.started_at)) / 1000)}: ${said}`);
        say(decision, decided(epoch));
        decision.hidden = !epoch.decision;
      };
      return item;
    }, (item, epoch) => item.show(epoch));
    this.#draw();
  }

  checkpoint(at, generation) {
    if (!at || this.#checkpoints.some((known) => known.at === at)) return;
    this.#checkpoints.push({ at, generation });
    if (this.#checkpoints.length > MOST) this.#checkpoints.shift();
    this.#draw();
  }

  /** An event that is no page; `sign` and a sentence. */
  happened(id, at, kind, text) {
    if (this.#happened.some((known) => known.id === id)) return;
    this.#happened.push({ id, at, kind, text });
    this.#happened.sort((a, b) => b.at.localeCompare(a.at));
    this.#happened.length = Math.min(this.#happened.length, MOST);
    this.nothing.hidden = true;
    keyed(this.events, this.#happened, (one) => one.id, (one) => h("li", { data: { kind: one.kind } },
      h("time", { datetime: one.at, class: "number", title: ago(one.at) }, clock(one.at)), " ", shown(one.text, 200)), (item, one) => put(item.querySelector("bdi"), one.text, 200));
  }

  #draw() {
    const epochs = this.#epochs.slice(-40);
    if (!epochs.length) return;
    const first = Date.parse(epochs[0].started_at);
    const now = Date.now();
    const last = Math.max(...epochs.map((epoch) => (epoch.ended_at ? Date.parse(epoch.ended_at) : now)), first + 1000);
    const place = (at) => `${Math.min(100, Math.max(0, ((at - first) / (last - first)) * 100))}%`;
    const parts = epochs.map((epoch) => {
      const end = epoch.ended_at ? Date.parse(epoch.ended_at) : now;
      const { kind, text } = ending(epoch);
      const part = h("i", { data: { kind }, title: `${epoch.epoch}. ${text}` });
      part.style.left = place(Date.parse(epoch.started_at));
      part.style.width = `max(4px, ${place(first + end - Date.parse(epoch.started_at))})`;
      return part;
    });
    const ticks = this.#checkpoints.map(({ at, generation }) => {
      const tick = h("b", { title: `Checkpoint ${generation ?? ""} at ${clock(at)}` });
      tick.style.left = place(Date.parse(at));
      return tick;
    });
    this.track.replaceChildren(...parts, ...ticks);
    const crashes = epochs.filter((epoch) => ending(epoch).kind === "crash").length;
    this.track.setAttribute("aria-label", `${count(epochs.length)} lifetimes over ${duration((last - first) / 1000)}, ${count(crashes)} of them ended by a crash`);
    say(this.from, clock(first));
    say(this.to, epochs.some((epoch) => !epoch.ended_at) ? "now" : clock(last));
  }
}

/** What an event that is no page says: a kind and a sentence; none where it is not for the list. Pure. */
export function sentence(event) {
  switch (event.kind) {
    case "status": return ["status", `${event.status.from ? `${words(event.status.from)} → ` : ""}${words(event.status.to)}${event.status.reason ? `: ${event.status.reason}` : ""}`];
    case "breaker": return ["breaker", `${event.breaker.host}: breaker ${words(event.breaker.state)}${event.breaker.failures ? ` after ${event.breaker.failures} failures` : ""}`];
    case "browser_restart": return ["browser", `The browser was started again${event.browser_restart.cause ? `: ${event.browser_restart.cause}` : ""}`];
    case "checkpoint": return ["checkpoint", `Checkpoint ${event.checkpoint.generation}`];
    case "alert": return ["alert", `${event.alert.raised === false ? "Over" : "Alert"}: ${words(event.alert.alert)} (${round(event.alert.value)}, threshold ${round(event.alert.threshold)})`];
    case "ended": return ["status", `Ended: ${words(event.status)}${event.stop_reason ? ` (${words(event.stop_reason)})` : ""}`];
    default: return null;
  }
}

const round = (value) => (Number.isFinite(value) ? Number(value.toPrecision(3)).toLocaleString("en") : "–");
