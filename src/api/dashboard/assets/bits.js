// Small parts that both views have: a status, a health, how far a crawl is.

import { attribute, h, keyed, s, say } from "./dom.js";
import { count, percent, short, words } from "./format.js";
import { put, shown } from "./text.js";

const SIGNS = {
  queued: "…", active: "▶", paused: "❚❚", completed: "✓", cancelled: "⊘", failed: "✕", expired: "!",
  crashed: "⚡", recoverable: "↻", migrated: "↗",
};

/** A session's status in a word and a sign, never by colour alone. */
export function statusChip() {
  const sign = h("span", { "aria-hidden": "true", class: "sign" });
  const word = h("span", {});
  const node = h("span", { class: "chip" }, sign, word);
  return { node, show: (status) => {
    node.dataset.status = status;
    say(sign, SIGNS[status] ?? "•");
    say(word, words(status));
  } };
}

export const level = (score) => (score >= 0.7 ? "healthy" : score >= 0.4 ? "degraded" : "unhealthy");
export const runs = (session) => ["active", "paused", "queued"].includes(session.status) && session.health_factors.length > 0;

/** The health score as a ring. */
export function ring(size) {
  const radius = size / 2 - 4;
  const round = 2 * Math.PI * radius;
  const attributes = { cx: size / 2, cy: size / 2, r: radius };
  const arc = s("circle", { ...attributes, class: "arc", "stroke-dasharray": `0 ${round}`, transform: `rotate(-90 ${size / 2} ${size / 2})` });
  const text = s("text", { x: size / 2, y: size / 2, "text-anchor": "middle", "dominant-baseline": "central" }, "–");
  const node = s("svg", { class: "ring", viewBox: `0 0 ${size} ${size}`, width: size, height: size, role: "img" },
    s("circle", { ...attributes, class: "track" }), arc, text);
  return { node, show: (score) => {
    const has = score !== null;
    node.dataset.level = has ? level(score) : "none";
    attribute(node, "aria-label", has ? `Health ${Math.round(score * 100)} of 100: ${level(score)}` : "No health: it does not run");
    attribute(arc, "stroke-dasharray", `${has ? round * score : 0} ${round}`);
    say(text, has ? String(Math.round(score * 100)) : "–");
  } };
}

/** The factors of a health score with their reasons, the worst first. */
export function factors() {
  const list = h("ul", { class: "factors" });
  const empty = h("p", { class: "quiet-text" }, "Nobody runs it: there is no health to tell.");
  const node = h("div", {}, list, empty);
  return { node, show: (all) => {
    empty.hidden = all.length > 0;
    const sorted = [...all].sort((a, b) => a.value - b.value);
    keyed(list, sorted, (factor) => factor.name, (factor) => h("li", {},
      h("span", { class: "factor-name" }, words(factor.name)), h("meter", { min: 0, max: 1, low: 0.4, high: 0.7, optimum: 1, "aria-label": `${words(factor.name)}` }),
      h("span", { class: "factor-value number" }), shown("", 300, "span")),
    (node, factor) => {
      const [, meter, value, reason] = node.children;
      if (meter.value !== factor.value) meter.value = factor.value;
      node.dataset.level = level(factor.value);
      say(value, factor.value.toFixed(2));
      put(reason, factor.reason);
      reason.classList.add("factor-reason");
    });
  } };
}

const PARTS = [["fetched", "Fetched"], ["failed", "Failed"], ["skipped", "Skipped"], ["in_flight", "In flight"], ["queued", "Queued"], ["parked", "Parked"]];

/** How far it is: a bar of all URLs by where they stand. */
export function progress(withLegend) {
  const bars = PARTS.map(([name]) => h("i", { data: { part: name } }));
  const bar = h("div", { class: "stack", role: "progressbar", "aria-valuemin": 0, "aria-valuemax": 100, "aria-label": "Progress" }, bars);
  const values = PARTS.map(() => h("dd", { class: "number" }));
  const legend = withLegend && h("dl", { class: "legend" }, PARTS.map(([name, label], index) => h("div", { data: { part: name } }, h("dt", {}, label), values[index])));
  const node = h("div", { class: "progress" }, bar, legend);
  return { node, show: (session) => {
    const { counters } = session;
    const share = session.estimated_progress;
    attribute(bar, "aria-valuenow", Math.floor(share * 100));
    attribute(bar, "aria-valuetext", `${percent(share)}: ${count(counters.discovered)} URLs known, ${count(counters.queued)} wait`);
    PARTS.forEach(([name], index) => {
      bars[index].style.flexGrow = counters[name];
      bars[index].hidden = !counters[name];
      say(values[index], withLegend === "short" ? short(counters[name]) : count(counters[name]));
    });
  } };
}

/** A number with its name under it. */
export function tile(label, extra) {
  const value = h("dd", { class: "number" }, "–");
  const node = h("div", { class: "tile" }, h("dt", {}, label), value, extra);
  return { node, show: (text) => say(value, text) };
}

/** A session's task in words; where there is none, its id. */
export const title = (session) => session.task_id ?? session.session_id;
