// A small chart over time: one line with its area, an axis that people can read, and the same in words.

import { h, s, say } from "./dom.js";
import { clock, duration } from "./format.js";

const HEIGHT = 150;
const LEFT = 46;
const BOTTOM = 22;
const TOP = 10;

/** The smallest round number that is not below `value`: 1, 2, 2.5 or 5 times a power of ten. */
export function ceiling(value) {
  if (!(value > 0)) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  const step = [1, 2, 2.5, 5, 10].find((factor) => factor * power >= value * 0.999);
  return step * power;
}

/** Pieces without a gap. */
export function pieces(points) {
  const found = [];
  let open = null;
  for (const point of points) {
    if (point.value === null) open = null;
    else if (open) open.push(point);
    else found.push(open = [point]);
  }
  return found;
}

export class Chart {
  #points = [];
  #width = 0;
  #format;
  #name;

  /** `format(value)` as people read it, `colour` one of the series' classes. */
  constructor({ name, unit, format, colour }) {
    this.#name = name;
    this.#format = format;
    this.now = h("strong", { class: "number" }, "–");
    this.svg = s("svg", { class: `chart ${colour}`, height: HEIGHT, role: "img", "aria-label": name, tabindex: 0 });
    this.readout = h("p", { class: "readout", "aria-hidden": "true" });
    this.table = h("tbody", {});
    this.node = h("figure", { class: "figure" },
      h("figcaption", {}, h("span", {}, name), h("span", { class: "figure-now" }, this.now, ` ${unit}`)),
      h("div", { class: "plot" }, this.svg, this.readout),
      h("details", { class: "numbers" }, h("summary", {}, "As a table"),
        h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": `${name} as a table` },
          h("table", {}, h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "Time"), h("th", { scope: "col" }, unit))), this.table))));
    this.details = this.node.querySelector("details");
    this.details.addEventListener("toggle", () => this.#tabulate());
    new ResizeObserver(([entry]) => {
      const width = Math.round(entry.contentRect.width);
      if (width && width !== this.#width) { this.#width = width; this.#draw(); }
    }).observe(this.svg);
    this.svg.addEventListener("pointermove", (event) => this.#point(event.offsetX));
    this.svg.addEventListener("pointerleave", () => this.#point(null));
    this.svg.addEventListener("keydown", (event) => this.#step(event));
    this.svg.addEventListener("blur", () => this.#point(null));
  }

  /** Points `{ at, value }`, oldest first; `value` null where nothing is known. */
  show(points, current) {
    this.#points = points;
    say(this.now, this.#format(current));
    const values = points.map((point) => point.value).filter((value) => value !== null);
    const span = points.length > 1 ? (points.at(-1).at - points[0].at) / 1000 : 0;
    const text = values.length
      ? `${this.#name}: now ${this.#format(current)}, highest ${this.#format(Math.max(...values))}, lowest ${this.#format(Math.min(...values))} over ${duration(span)}`
      : `${this.#name}: nothing seen yet`;
    if (this.svg.getAttribute("aria-label") !== text) this.svg.setAttribute("aria-label", text);
    this.#draw();
    if (this.details.open) this.#tabulate();
  }

  #scale() {
    const points = this.#points;
    const [first, last] = [points[0]?.at ?? Date.now() - 60_000, points.at(-1)?.at ?? Date.now()];
    const from = Math.min(first, last - 60_000);
    const top = ceiling(Math.max(...points.map((point) => point.value ?? 0), 0));
    const [width, height] = [this.#width - LEFT - 8, HEIGHT - TOP - BOTTOM];
    return {
      from, last, top,
      x: (at) => LEFT + ((at - from) / Math.max(1, last - from)) * width,
      y: (value) => TOP + height - (value / top) * height,
    };
  }

  #draw() {
    if (!this.#width) return;
    const scale = this.#scale();
    this.svg.setAttribute("viewBox", `0 0 ${this.#width} ${HEIGHT}`);
    const grid = [0, 0.5, 1].map((share) => {
      const y = scale.y(scale.top * share);
      return [s("line", { class: "grid", x1: LEFT, x2: this.#width - 8, y1: y, y2: y }),
        s("text", { class: "tick", x: LEFT - 8, y: y + 4, "text-anchor": "end" }, this.#format(scale.top * share))];
    });
    const base = scale.y(0);
    const lines = pieces(this.#points).map((piece) => {
      const path = piece.map((point, index) => `${index ? "L" : "M"}${scale.x(point.at).toFixed(1)} ${scale.y(point.value).toFixed(1)}`).join("");
      const [a, b] = [scale.x(piece[0].at).toFixed(1), scale.x(piece.at(-1).at).toFixed(1)];
      return [s("path", { class: "area", d: `${path}L${b} ${base}L${a} ${base}Z` }), s("path", { class: "line", d: path })];
    });
    const span = (scale.last - scale.from) / 1000;
    const times = [s("text", { class: "tick", x: LEFT, y: HEIGHT - 5 }, `${duration(span)} ago`),
      s("text", { class: "tick", x: this.#width - 8, y: HEIGHT - 5, "text-anchor": "end" }, "now")];
    this.cross = s("line", { class: "cross", y1: TOP, y2: base, visibility: "hidden" });
    const empty = this.#points.length < 2 ? [s("text", { class: "empty", x: (this.#width + LEFT) / 2, y: HEIGHT / 2, "text-anchor": "middle" }, "Drawn while you watch")] : [];
    this.svg.replaceChildren(...[grid, lines, times, empty, this.cross].flat(3));
    if (this.at !== undefined && this.at !== null) this.#read(this.at);
  }

  #point(x) {
    if (x === null || !this.#points.length) return this.#read(null);
    const scale = this.#scale();
    let best = 0;
    this.#points.forEach((point, index) => {
      if (Math.abs(scale.x(point.at) - x) < Math.abs(scale.x(this.#points[best].at) - x)) best = index;
    });
    this.#read(this.#points[best].at);
  }

  #step(event) {
    const moves = { ArrowLeft: -1, ArrowRight: 1, Home: -Infinity, End: Infinity };
    if (!(event.key in moves) || !this.#points.length) return;
    event.preventDefault();
    const last = this.#points.length - 1;
    const here = this.#points.findIndex((point) => point.at === this.at);
    const next = Math.min(last, Math.max(0, (here < 0 ? last : here) + moves[event.key]));
    this.#read(this.#points[next].at);
  }

  /** Shows the point of that time. */
  #read(at) {
    this.at = at;
    const point = at === null ? null : this.#points.find((candidate) => candidate.at === at);
    this.cross.setAttribute("visibility", point ? "visible" : "hidden");
    if (!point) return say(this.readout, "");
    const x = this.#scale().x(point.at);
    this.cross.setAttribute("x1", x);
    this.cross.setAttribute("x2", x);
    say(this.readout, `${clock(point.at)} · ${point.value === null ? "–" : this.#format(point.value)}`);
    this.readout.style.left = `${Math.min(Math.max(x, 70), this.#width - 60)}px`;
  }

  #tabulate() {
    if (!this.details.open) return;
    const few = this.#points.slice(-60).reverse();
    this.table.replaceChildren(...few.map((point) => h("tr", {}, h("td", {}, clock(point.at)),
      h("td", { class: "number" }, point.value === null ? "–" : this.#format(point.value)))));
  }
}
