// What is asked of the daemon. Each request has a deadline, and a failure says what happened and what to do.

const BASE = "/api/v1";
const ASK = 15_000;
const ORDER = 75_000;
const WORK = 620_000;

export class Problem extends Error {
  constructor(status, body) {
    super(body.detail || body.title || `The daemon answered ${status}.`);
    this.status = status;
    this.code = String(body.type ?? "").split(/[/:#]/).pop();
    this.errors = Array.isArray(body.errors) ? body.errors : [];
  }
}

/** Nobody answered: the daemon is not there, or the network is not. */
export class Unreachable extends Error {}

async function request(method, path, body, within) {
  const init = { method, signal: AbortSignal.timeout(within), cache: "no-store", credentials: "same-origin" };
  if (body !== undefined) {
    init.headers = { "Content-Type": "application/json" };
    init.body = JSON.stringify(body);
  }
  let answer;
  try {
    answer = await fetch(path, init);
  } catch (error) {
    const why = error.name === "TimeoutError" ? `No answer within ${within / 1000} s` : "The daemon does not answer";
    throw new Unreachable(`${why}: is crawld still running?`);
  }
  if (answer.status === 401) {
    // The login is over: the start page asks for the token again.
    location.reload();
    return new Promise(() => {});
  }
  const json = /json/.test(answer.headers.get("content-type") ?? "");
  let value = {};
  try {
    if (json) value = await answer.json();
  } catch {
    // Cut off on its way, or the time is over.
    throw new Unreachable("The daemon's answer did not come through: is crawld still running?");
  }
  // An unhealthy daemon answers with its reasons.
  if (!answer.ok && !(answer.status === 503 && value.reasons)) throw new Problem(answer.status, value);
  return value;
}

const at = (id, rest = "") => `${BASE}/sessions/${encodeURIComponent(id)}${rest}`;

export const api = {
  health: () => request("GET", `${BASE}/health`, undefined, ASK),
  whoami: () => request("GET", `${BASE}/whoami`, undefined, ASK),
  sessions: (cursor) => request("GET", `${BASE}/sessions?limit=100${cursor ? `&cursor=${encodeURIComponent(cursor)}` : ""}`, undefined, ASK),
  stats: () => request("GET", `${BASE}/stats`, undefined, ASK),
  session: (id) => request("GET", at(id), undefined, ASK),
  hosts: (id, after) => request("GET", at(id, `/hosts?limit=200${after ? `&after=${after}` : ""}`), undefined, ASK),
  failures: (id) => request("GET", at(id, "/failures"), undefined, ASK),
  epochs: (id) => request("GET", at(id, "/epochs"), undefined, ASK),
  outputs: (id) => request("GET", at(id, "/outputs"), undefined, ASK),
  pages: (id, outcome, after) => request("GET", at(id, `/pages?limit=50${outcome ? `&outcome=${outcome}` : ""}${after ? `&after=${after}` : ""}`), undefined, ASK),
  tabs: (id) => request("GET", at(id, "/tabs"), undefined, ASK),
  order: (id, order, body = {}) => request("POST", at(id, `/${order}`), body, ORDER),
  seeds: (id, urls) => request("POST", at(id, "/seeds"), { urls }, ORDER),
  change: (id, body) => request("PATCH", at(id), body, ORDER),
  verify: (id) => request("POST", at(id, "/verify"), {}, WORK),
  remove: (id, outputs) => request("DELETE", at(id, outputs ? "?outputs=true" : ""), undefined, WORK),
  recover: (id, strategy) => request("POST", `${BASE}/recover`, { sessions: [id], strategy }, WORK),
  recoverable: () => request("GET", `${BASE}/recoverable`, undefined, WORK),
  submit: (task, fresh) => request("POST", `${BASE}/sessions`, { task, new: fresh }, ORDER),
  cleanup: (dryRun) => request("POST", `${BASE}/cleanup`, { dry_run: dryRun }, WORK),
};

/** Where files are downloaded from. */
export const outputPath = (id, name) => at(id, `/outputs/${name.split("/").map(encodeURIComponent).join("/")}`);
export const tabPicture = (id, n, turn) => at(id, `/tabs/${encodeURIComponent(n)}.jpeg?turn=${turn}`);
export const eventsPath = (id, after) => {
  const path = id ? at(id, "/events") : `${BASE}/events`;
  return after ? `${path}?after=${encodeURIComponent(after)}` : path;
};
