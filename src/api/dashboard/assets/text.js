// Text that strangers wrote: page titles, URLs, errors. It is shown as text, each character that would act is made
// visible, what is too long is cut, and nothing of it reaches beyond its own place.

// Characters of a text that is shown, and of its tooltip.
const SHOWN = 300;
const TOLD = 1500;

// Controls, format characters (bidi among them), separators of lines, and what nobody can see. Joiners stay: scripts
// and emoji are spelled with them.
const ODD = /[\p{Cc}\p{Cf}\p{Co}\p{Cn}\u2028\u2029\u00ad\u034f\u115f\u1160\u17b4\u17b5\u3164\uffa0]/gu;
const JOINERS = new Set(["\u200c", "\u200d"]);
// More marks on one letter than any script needs climb over the lines around.
const TOWER = /(\p{M}{4})\p{M}+/gu;

function name(odd) {
  if (JOINERS.has(odd)) return odd;
  return `\u27e8U+${odd.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}\u27e9`;
}

/** The text with every acting character made visible, and whether it was cut. */
export function visible(value, most = SHOWN) {
  const whole = String(value ?? "");
  const cut = whole.length > most;
  const part = (cut ? whole.slice(0, most) : whole).toWellFormed();
  const text = part.replace(TOWER, "$1").replace(ODD, name);
  return { text: cut ? `${text}…` : text, cut };
}

/** The same for a place that takes one string: a label, a tooltip. */
export function plain(value, most = TOLD) {
  const { text, cut } = visible(value, most);
  return cut ? `${text} (${String(value).length.toLocaleString("en")} characters in all)` : text;
}

/** An element that shows the text, isolated from what stands around it, with more of it as its tooltip. */
export function shown(value, most = SHOWN, tag = "bdi") {
  const node = document.createElement(tag);
  node.className = "theirs";
  put(node, value, most);
  return node;
}

/** Shows another text in an element of `shown`. */
export function put(node, value, most = SHOWN) {
  const { text } = visible(value, most);
  if (node.textContent !== text) node.textContent = text;
  const title = plain(value);
  if (node.title !== title) node.title = title;
}

/** A link to a page of the web, or only its text where it is none. Nothing is told to that page about where we are. */
export function outward(value, most = SHOWN) {
  let url = null;
  try { url = new URL(value); } catch { /* shown as text */ }
  if (!url || !/^https?:$/.test(url.protocol) || value.length > 8192) return shown(value, most);
  const link = shown(value, most, "a");
  link.href = url.href;
  link.target = "_blank";
  link.rel = "noopener noreferrer nofollow external";
  link.dir = "ltr";
  return link;
}
