// Which view is shown, what the daemon says of itself, and whether it can be reached.

import { api } from "./api.js";
import { h, say } from "./dom.js";
import { ago } from "./format.js";
import { SessionsView } from "./list.js";
import { SessionView } from "./session.js";
import { plain, shown } from "./text.js";

const HEALTH = 15_000;

const main = document.getElementById("main");
const link = document.getElementById("link");
const note = document.getElementById("note");
let view = null;
let may = true;
let counting = null;

/** Whether the daemon answers at all, of whatever was asked last. */
const daemon = {
  trouble: null,
  reached() { if (this.trouble) { this.trouble = null; remark(); } },
  failed(error) { this.trouble = error.message; remark(); },
};

let connection = { state: "connecting" };

function tell(state, live) {
  connection = { ...state, live, until: state.seconds ? Date.now() + state.seconds * 1000 : 0 };
  clearInterval(counting);
  if (state.seconds) counting = setInterval(remark, 1000);
  remark();
}

/** The word in the corner, and the line under the head where there is something to say. */
function remark() {
  const { state, text, until, reason } = connection;
  const calm = state === "live" || (state === "stopped" && reason === "session_ended");
  const words = { connecting: "Connecting", live: "Live", waiting: "Polling", stopped: calm ? "At rest" : "Polling" };
  link.dataset.state = daemon.trouble ? "lost" : calm ? "live" : state;
  if (state === "stopped" && calm) link.dataset.state = "rest";
  say(link, daemon.trouble ? "Not reached" : words[state]);
  const parts = [];
  if (daemon.trouble) parts.push(plain(daemon.trouble, 300));
  if (!calm && (state === "waiting" || state === "stopped") && reason !== "unknown_session") {
    parts.push(`${text} Meanwhile the numbers are asked for every two seconds.`);
    if (state === "waiting") parts.push(`Next try in ${Math.max(0, Math.ceil((until - Date.now()) / 1000))} s.`);
  }
  note.hidden = parts.length === 0;
  note.dataset.kind = daemon.trouble ? "wrong" : "mild";
  const button = parts.length && !calm ? h("button", { type: "button", class: "plain small", onclick: () => view?.again() }, "Try now") : null;
  // The button stays where it is while the seconds count.
  if (note.firstChild?.nodeType === Node.TEXT_NODE && Boolean(note.querySelector("button")) === Boolean(button)) note.firstChild.data = `${parts.join(" ")} `;
  else note.replaceChildren(...[document.createTextNode(`${parts.join(" ")} `), button].filter(Boolean));
}

function route() {
  const found = /^#\/s\/([^/]+)$/.exec(location.hash);
  view?.end();
  document.querySelectorAll("dialog[open]").forEach((dialog) => dialog.close());
  const context = { main, tell, may, daemon };
  let id = null;
  try { id = found && decodeURIComponent(found[1]); } catch { /* no id of ours */ }
  main.replaceChildren(h("p", { class: "waiting" }, "Loading…"));
  view = id ? new SessionView(id, context) : new SessionsView(context);
  scrollTo(0, 0);
}

async function facts() {
  const node = document.getElementById("daemon");
  try {
    const health = await api.health();
    daemon.reached();
    node.replaceChildren(...[
      h("span", { class: "chip", data: { health: health.status } }, health.status),
      h("span", { class: "fact" }, `v${health.version}`), h("span", { class: "fact" }, `up ${ago(health.started_at).replace(" ago", "")}`),
      (health.reasons?.length || health.degraded?.length) && shown([...(health.reasons ?? []), ...(health.degraded ?? [])].join("; "), 200),
    ].filter(Boolean));
  } catch (error) {
    daemon.failed(error);
  }
  setTimeout(facts, HEALTH);
}

document.getElementById("logout").addEventListener("submit", async (event) => {
  event.preventDefault();
  await fetch("/logout", { method: "POST" }).catch(() => {});
  location.assign("/");
});
// The address after `#` says which view is shown; the skip link is no view.
document.querySelector(".skip").addEventListener("click", (event) => { event.preventDefault(); main.focus(); });
addEventListener("hashchange", () => { route(); main.focus({ preventScroll: true }); });
addEventListener("pagehide", () => view?.end());
addEventListener("pageshow", (event) => { if (event.persisted) route(); });

facts();
try {
  may = (await api.whoami()).may_change !== false;
} catch { /* what it may do shows when it is done */ }
route();
