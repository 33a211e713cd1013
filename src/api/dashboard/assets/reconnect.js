// When the event connection is tried again, and when no more. Pure: the clock and the dice are arguments.

/** Seconds of pause before the n-th reconnection in a row; the last one from then on. */
export const BACKOFF = [1, 2, 4, 8, 16, 30];
/** Reconnections in a row without a good connection between; then polling only, until somebody asks. */
export const MOST = 10;
/** Failures in a row that open the breaker, and how long it stays open. */
export const BREAKER_AFTER = 5;
export const BREAKER_SECONDS = 30;
/** Without a message for this long a connection is dead. */
export const SILENCE_SECONDS = 30;
/** A connection is good when it has said hello and lived this long after it. */
export const GOOD_SECONDS = 10;
/** Something is asked for when nothing was heard for this long: an idle daemon has nothing to tell. */
export const ASK_SECONDS = 12;

export const fresh = () => ({ failures: 0, reconnections: 0, breaker: "closed" });

// Every close code by name: what it means, and what follows. `again`: as after any failure; `soon`: at the first
// pause and no failure; `wait`: not before the server said; `stop`: no more.
const CODES = {
  1000: ["normal", "soon", "The connection was closed in good order."],
  1001: ["going_away", "again", "The daemon is stopping or restarting."],
  1002: ["protocol_error", "again", "The connection broke the WebSocket protocol."],
  1003: ["unsupported_data", "again", "The daemon was sent what it does not take."],
  1005: ["no_status", "again", "The connection was closed without a word."],
  1006: ["abnormal", "again", "The connection was lost."],
  1007: ["invalid_data", "again", "A message was not valid text."],
  1008: ["policy", "again", "The daemon refused the connection."],
  1009: ["too_big", "again", "A message was too large."],
  1010: ["extension_missing", "again", "An extension was missing."],
  1011: ["server_error", "again", "The daemon met an error of its own."],
  1012: ["restart", "again", "The daemon restarts."],
  1013: ["try_later", "wait", "The daemon has no place for another client now."],
  1014: ["bad_gateway", "again", "The proxy in between got no good answer."],
  1015: ["tls", "again", "The TLS handshake failed."],
  4100: ["circuit_open", "wait", "The daemon takes no event connections for a while."],
  4101: ["half_open_busy", "wait", "The daemon is trying one event connection; another has to wait."],
  4102: ["too_many_reconnections", "stop", "The daemon was asked for too many connections."],
  4103: ["slow_reader", "again", "This browser did not read fast enough."],
  4104: ["unknown_session", "stop", "There is no such session."],
  4105: ["session_ended", "stop", "The session has ended."],
  4106: ["not_authorised", "login", "The login is over."],
};

/** What a close code is: its name, what follows, and a sentence. */
export function code(number) {
  const [name, then, sentence] = CODES[number] ?? ["unknown", "again", `The connection was closed with code ${number}.`];
  return { name, then, sentence };
}

/** Seconds that the server asked to wait, of a close reason; nothing where it did not. */
export function retryAfter(reason) {
  const found = /(?:retry[-_ ]after)\D{0,4}(\d{1,5}(?:\.\d+)?)/i.exec(reason ?? "");
  return found ? Math.min(Number(found[1]), 3600) : null;
}

/** After a good connection everything counts anew. */
export const good = fresh;

/**
 * What follows the end of a connection. `dice` is 0..1.
 * Gives the next memory and either `{ wait: seconds }`, `{ stop: name }` or `{ login: true }`.
 */
export function after(memory, number, reason, dice) {
  const { name, then } = code(number);
  if (then === "login") return { memory, login: true, name };
  if (then === "stop") return { memory, stop: name, name };
  const reconnections = memory.reconnections + 1;
  if (reconnections > MOST) return { memory: { ...memory, reconnections }, stop: "gave_up", name };
  const failures = then === "again" ? memory.failures + 1 : memory.failures;
  // A half-open breaker lets one try through: its failure opens it again.
  const opens = failures >= BREAKER_AFTER || (memory.breaker === "half_open" && then === "again");
  const step = BACKOFF[Math.min(reconnections, BACKOFF.length) - 1];
  // Between half of it and all of it: many dashboards do not come back at once.
  const pause = Math.max(step * (0.5 + dice / 2), retryAfter(reason) ?? 0);
  return {
    memory: { failures, reconnections, breaker: opens ? "open" : memory.breaker },
    wait: opens ? Math.max(BREAKER_SECONDS + dice * 2, pause) : pause,
    name,
  };
}

/** The pause is over: one try. */
export const trying = (memory) => ({ ...memory, breaker: memory.breaker === "open" ? "half_open" : memory.breaker });
