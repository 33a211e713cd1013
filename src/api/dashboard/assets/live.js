// The event connection of the view that is shown: one WebSocket, or none and a clear word why.

import { eventsPath } from "./api.js";
import { ASK_SECONDS, GOOD_SECONDS, SILENCE_SECONDS, after, code, fresh, good, trying } from "./reconnect.js";

/** An opening that takes longer is lost. */
const OPENING = 10_000;

/**
 * Events of a session, or of all with `id` null.
 * `tell({ state, text, seconds })`: `connecting`, `live`, `waiting`, `stopped`. `hear(event)`: each event.
 */
export class Live {
  #memory = fresh();
  #socket = null;
  #timers = new Set();
  #turn = 0;
  #over = false;
  #resume = null;

  constructor(id, { tell, hear, from }) {
    this.id = id;
    this.tell = tell;
    this.hear = hear;
    this.#resume = from ?? null;
    this.#open();
  }

  /** Somebody asks for it: everything counts anew. */
  again() {
    if (this.#over) return;
    this.#memory = fresh();
    this.#drop();
    this.#open();
  }

  end() {
    this.#over = true;
    this.#drop();
  }

  #later(seconds, what) {
    const turn = this.#turn;
    const timer = setTimeout(() => {
      this.#timers.delete(timer);
      if (turn === this.#turn) what();
    }, seconds * 1000);
    this.#timers.add(timer);
    return timer;
  }

  #drop() {
    this.#turn += 1;
    this.#timers.forEach(clearTimeout);
    this.#timers.clear();
    const socket = this.#socket;
    this.#socket = null;
    if (socket && socket.readyState < WebSocket.CLOSING) socket.close(1000);
  }

  #open() {
    this.#drop();
    const turn = this.#turn;
    this.#memory = trying(this.#memory);
    this.tell({ state: "connecting", text: "Connecting" });
    const url = new URL(eventsPath(this.id, this.#resume), location.href);
    url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
    const mine = (what) => (event) => { if (turn === this.#turn) what(event); };
    let socket;
    try {
      socket = new WebSocket(url);
    } catch {
      this.#lost(1006, "");
      return;
    }
    this.#socket = socket;
    this.#later(OPENING / 1000, () => { if (socket.readyState !== WebSocket.OPEN) this.#lost(1006, ""); });
    let heard = Date.now();
    let greeted = false;
    // One clock a second watches for silence and for the point from which the connection counts as good.
    const watch = () => {
      const silent = (Date.now() - heard) / 1000;
      if (silent >= SILENCE_SECONDS) return this.#lost(1006, "");
      if (silent >= ASK_SECONDS && socket.readyState === WebSocket.OPEN) socket.send('{"kind":"ping"}');
      this.#later(silent >= ASK_SECONDS ? ASK_SECONDS / 2 : 1, watch);
    };
    socket.addEventListener("open", mine(() => {
      heard = Date.now();
      watch();
    }));
    socket.addEventListener("message", mine(({ data }) => {
      heard = Date.now();
      const event = parsed(data);
      if (!event) return;
      if (!greeted) {
        greeted = true;
        this.tell({ state: "live", text: "Live" });
        this.#later(GOOD_SECONDS, () => { this.#memory = good(); });
      }
      // Numbers of different sessions do not follow each other: of all sessions together nothing is told again.
      if (this.id && typeof event.id === "string" && event.kind !== "hello") this.#resume = event.id;
      this.hear(event);
    }));
    socket.addEventListener("close", mine(({ code: number, reason }) => this.#lost(number, reason)));
  }

  #lost(number, reason) {
    if (this.#over) return;
    this.#drop();
    const { sentence } = code(number);
    const next = after(this.#memory, number, reason, Math.random());
    this.#memory = next.memory;
    if (next.login) return location.reload();
    if (next.stop) {
      const text = next.stop === "gave_up" ? `${sentence} It was tried ${next.memory.reconnections - 1} times.` : sentence;
      return this.tell({ state: "stopped", reason: next.stop, text });
    }
    this.tell({ state: "waiting", text: sentence, seconds: Math.ceil(next.wait), broken: next.memory.breaker === "open" });
    this.#later(next.wait, () => this.#open());
  }
}

function parsed(data) {
  if (typeof data !== "string") return null;
  try {
    const event = JSON.parse(data);
    return event && typeof event === "object" && typeof event.kind === "string" ? event : null;
  } catch {
    return null;
  }
}
