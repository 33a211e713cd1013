// Elements without markup: every string becomes a text node.

const SVG = "http://www.w3.org/2000/svg";

function fill(node, attributes, children) {
  for (const [key, value] of Object.entries(attributes ?? {})) {
    if (value === undefined || value === null || value === false) continue;
    if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
    else if (key === "data") Object.assign(node.dataset, value);
    else node.setAttribute(key, value === true ? "" : String(value));
  }
  node.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

/** `h("p", { class: "x" }, "text", child)` */
export function h(tag, attributes, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

/** The same for SVG. */
export function s(tag, attributes, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

/** Sets a text where it is another one: what stays the same is not announced again, and keeps a selection. */
export function say(node, text) {
  const next = String(text ?? "");
  if (node.textContent !== next) node.textContent = next;
}

export function attribute(node, key, value) {
  if (value === null || value === undefined || value === false) node.removeAttribute(key);
  else if (node.getAttribute(key) !== String(value)) node.setAttribute(key, value === true ? "" : String(value));
}

/**
 * Keeps the children of `parent` in step with `items`: the same key keeps its element, so focus and selection stay.
 * `make(item)` gives an element, `update(element, item)` brings it up to date.
 */
export function keyed(parent, items, key, make, update) {
  parent.byKey ??= new Map();
  const wanted = new Map(items.map((item) => [key(item), item]));
  for (const [old, node] of parent.byKey) {
    if (wanted.has(old)) continue;
    node.remove();
    parent.byKey.delete(old);
  }
  let place = parent.firstElementChild;
  for (const [id, item] of wanted) {
    let node = parent.byKey.get(id);
    if (!node) {
      node = make(item);
      parent.byKey.set(id, node);
    }
    update(node, item);
    if (node === place) place = place.nextElementSibling;
    else parent.insertBefore(node, place);
  }
}

/** A word for screen readers, polite: the last one of a burst is said. */
let telling;
export function announce(text) {
  clearTimeout(telling);
  telling = setTimeout(() => say(document.getElementById("said"), text), 250);
}

/** A message that stays for a while, or until it is closed where something went wrong. */
export function toast(text, kind = "done") {
  const holder = document.getElementById("toasts");
  const node = h("div", { class: "toast", data: { kind }, role: kind === "wrong" ? "alert" : "status" },
    h("p", {}, text),
    h("button", { class: "quiet", type: "button", "aria-label": "Close this message", onclick: () => node.remove() }, "✕"));
  while (holder.childElementCount >= 4) holder.firstElementChild.remove();
  holder.append(node);
  if (kind !== "wrong") setTimeout(() => node.remove(), 8000);
}
