// What can be done with a session: which buttons its state allows, and what each asks before.

import { api } from "./api.js";
import { ask, field, lines, wording } from "./dialog.js";
import { attribute, h, keyed, say, toast } from "./dom.js";
import { count, words } from "./format.js";

const ENDED = new Set(["completed", "cancelled", "failed", "expired"]);
const LOST = new Set(["crashed", "recoverable"]);

/** The buttons for a session as it stands, in their order. Pure. */
export function allowed(session) {
  const { status, counters } = session;
  const [lives, ended, lost] = [["active", "paused", "queued"].includes(status), ENDED.has(status), LOST.has(status)];
  const held = status === "paused" && /^operator/.test(session.status_reason ?? "operator");
  return [
    status === "active" && "pause",
    held && "resume",
    status === "expired" && "extend",
    lost && "recover",
    lives && status !== "queued" && "checkpoint",
    !lost && status !== "migrated" && counters.failed > 0 && "retry-failed",
    !lost && status !== "migrated" && counters.parked > 0 && "release-parked",
    lives && status !== "queued" && "seeds",
    lives && status !== "queued" && "pace",
    (ended || lost) && "verify",
    lives && "cancel",
    (ended || lost || status === "migrated") && "delete",
  ].filter(Boolean);
}

const plural = (n, one, many) => `${count(n)} ${n === 1 ? one : many}`;

const BUTTONS = {
  pause: ["Pause", (view) => direct(view, "pause", () => "The session is paused.")],
  resume: ["Resume", (view) => direct(view, "resume", () => "The session goes on.")],
  extend: ["Continue past the limit", (view) => ask({
    heading: "Continue past the limit?", text: "The session reached a limit of its task. It goes on, and the limits count anew.",
    button: "Continue", act: () => order(view, "resume", { extend: true }, () => "The session goes on."),
  })],
  recover: ["Recover", recover],
  checkpoint: ["Checkpoint now", (view) => direct(view, "checkpoint", (done) => `Checkpoint ${count(done.count)} is written.`)],
  "retry-failed": ["Retry failed", (view, session) => {
    const poisoned = h("input", { type: "checkbox" });
    ask({
      heading: "Retry failed pages?", text: `${plural(session.counters.failed, "URL has", "URLs have")} failed. They are queued again, after all others.`,
      fields: [field("Also those that killed their browser again and again", poisoned)],
      button: "Retry", act: () => order(view, "retry-failed", { quarantined: poisoned.checked }, (done) => `${plural(done.count, "URL is", "URLs are")} queued again.`),
    });
  }],
  "release-parked": ["Release parked", (view, session) => ask({
    heading: "Release what is parked?", text: `Trap budgets have set ${plural(session.counters.parked, "URL", "URLs")} aside: endless calendars, query strings and the like. They would all be crawled.`,
    button: "Release", act: () => order(view, "release-parked", {}, (done) => `${plural(done.count, "URL is", "URLs are")} queued.`),
  })],
  seeds: ["Add URLs", (view) => {
    const urls = h("textarea", { rows: 4, required: true, spellcheck: "false", dir: "ltr", placeholder: "https://example.org/more" });
    ask({ heading: "Add URLs", fields: [field("Addresses", urls, "One a line. The session's scope holds for the links on them.")], button: "Add",
      act: async () => { const done = await api.seeds(view.id, lines(urls.value)); view.refresh(); return `${plural(done.count, "URL was", "URLs were")} added.`; } });
  }],
  pace: ["Change pace", pace],
  verify: ["Verify", (view) => ask({
    heading: "Verify the outputs?", text: "Every record is read and compared with the session's store. It takes a while where there are many.",
    button: "Verify", act: async () => {
      const report = await api.verify(view.id);
      const problems = report.problems ?? report.violations ?? [];
      return problems.length ? `Verified: ${plural(problems.length, "problem", "problems")}. ${problems.slice(0, 3).map((one) => (typeof one === "string" ? one : one.message ?? JSON.stringify(one))).join(" ")}` : "Verified: everything is there, once.";
    },
  })],
  cancel: ["Cancel crawl", (view, session) => ask({
    heading: "Cancel this crawl for good?", danger: true,
    text: [`${plural(session.counters.queued + session.counters.in_flight, "URL is", "URLs are")} still to be crawled and will not be. What was fetched stays in the outputs. A cancelled session cannot be continued; Pause can.`],
    button: "Cancel the crawl", act: () => order(view, "cancel", {}, () => "The crawl is cancelled."),
  })],
  delete: ["Delete", (view, session) => {
    const outputs = h("input", { type: "checkbox" });
    ask({
      heading: "Delete this session?", danger: true, text: `Its state is removed: it can neither be continued nor verified. The ${count(session.counters.fetched)} fetched pages stay in its outputs, unless you say otherwise.`,
      fields: [field("Delete the outputs too: the pages are gone", outputs)], button: "Delete",
      act: async () => { await api.remove(view.id, outputs.checked); location.hash = "#/"; return "The session is deleted."; },
    });
  }],
};

function recover(view) {
  const strategy = h("select", {}, [["auto", "What the recovery table says"], ["resume", "Continue it in any case"], ["restart", "Start over"]].map(([value, label]) => h("option", { value }, label)));
  ask({
    heading: "Recover this session?", text: "What is left of it is looked at, a decision is made and carried out. Nothing is deleted: what is damaged is moved aside.",
    fields: [field("What is to be done", strategy)], button: "Recover",
    act: async () => {
      const report = await api.recover(view.id, strategy.value);
      view.refresh();
      const item = report.sessions?.[0];
      return item ? `${words(item.result)}: ${words(item.cause)}. ${item.message ?? ""}` : "There was nothing to recover.";
    },
  });
}

function pace(view) {
  const delay = h("input", { type: "text", pattern: "\\d+(ms|s|m)", placeholder: "as it is", dir: "ltr" });
  const most = h("input", { type: "text", pattern: "\\d+(ms|s|m)", placeholder: "as it is", dir: "ltr" });
  const perHost = h("input", { type: "number", min: 1, max: 64, placeholder: "as it is" });
  const exclude = h("textarea", { rows: 2, spellcheck: "false", dir: "ltr", placeholder: "/print/" });
  ask({
    heading: "Change pace and exclusions", text: "What is left empty stays as it is. Pauses that hosts ask for are kept in any case.",
    fields: [
      h("div", { class: "pair" }, field("Smallest pause", delay, "250ms, 2s …"), field("Longest pause", most)),
      field("Requests at once to a host", perHost),
      field("Leave out URLs that match", exclude, "A regular expression a line, in place of the exclusions so far. URLs that are queued are judged too."),
    ],
    button: "Change", act: async () => {
      const body = {};
      if (delay.value) body.delay = delay.value;
      if (most.value) body.max_delay = most.value;
      if (perHost.value) body.per_host = Number(perHost.value);
      if (exclude.value.trim()) body.exclude = lines(exclude.value);
      if (!Object.keys(body).length) throw new Error("Nothing is filled in.");
      await api.change(view.id, body);
      view.refresh();
      return "It is changed.";
    },
  });
}

async function order(view, name, body, said) {
  const done = await api.order(view.id, name, body);
  view.refresh();
  return said(done);
}

/** Without a question: it takes nothing away. */
async function direct(view, name, said) {
  try {
    toast(await order(view, name, {}, said));
  } catch (error) {
    toast(wording(error), "wrong");
  }
}

const DANGER = new Set(["cancel", "delete"]);
const FIRST = new Set(["pause", "resume", "extend", "recover"]);

/** The buttons of a session's view. */
export function buttons(view, may) {
  const row = h("div", { class: "buttons", role: "group", "aria-label": "What can be done" });
  const hint = h("p", { class: "quiet-text", hidden: may }, "You look on: your token is for reading.");
  let current = null;
  const make = (name) => {
    const [label, press] = BUTTONS[name];
    const kind = DANGER.has(name) ? "danger quiet-danger" : FIRST.has(name) ? "primary" : "plain";
    const button = h("button", { type: "button", class: kind, data: { action: name } }, label);
    button.addEventListener("click", async () => {
      button.disabled = true;
      await press(view, current);
      button.disabled = false;
    });
    return button;
  };
  return { node: h("div", {}, row, hint), show: (session) => {
    current = session;
    keyed(row, may ? allowed(session) : [], (name) => name, make, () => {});
    attribute(row, "hidden", !may || row.childElementCount === 0);
    say(hint, "You look on: your token is for reading.");
  } };
}
