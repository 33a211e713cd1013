// Questions before something is done. The browser's own dialog keeps the focus inside and gives it back.

import { h, toast } from "./dom.js";
import { Problem } from "./api.js";
import { plain } from "./text.js";

let numbers = 0;

/** What went wrong, in the daemon's words. */
export function wording(error) {
  const fields = error instanceof Problem ? error.errors.map((one) => `${one.field ?? one.at ?? ""}: ${one.detail ?? one.message ?? ""}`) : [];
  return plain([error.message, ...fields].join("\n"), 1500);
}

/**
 * Asks, and does it. `fields`: elements of the form; `act(form)` returns a promise of a sentence for the message.
 * A failure is shown in the dialog, which stays open.
 */
export function ask({ heading, text, fields = [], button, danger, act }) {
  numbers += 1;
  const id = `dialog-${numbers}`;
  const wrong = h("p", { class: "wrong", role: "alert", hidden: true });
  const go = h("button", { type: "submit", class: danger ? "danger" : "primary" }, button);
  const back = h("button", { type: "button", class: "plain", onclick: () => dialog.close() }, "Back");
  const form = h("form", { method: "dialog" }, h("h2", { id }, heading),
    text && [text].flat().map((part) => (typeof part === "string" ? h("p", {}, part) : part)),
    fields, wrong, h("div", { class: "buttons end" }, back, go));
  const dialog = h("dialog", { "aria-labelledby": id, onclose: () => dialog.remove() }, form);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    go.disabled = true;
    go.dataset.busy = "";
    try {
      const said = await act(form);
      dialog.close();
      if (said) toast(said);
    } catch (error) {
      wrong.textContent = wording(error);
      wrong.hidden = false;
    }
    go.disabled = false;
    delete go.dataset.busy;
  });
  document.body.append(dialog);
  dialog.showModal();
  // Where something is lost, Enter takes nothing.
  if (danger && !fields.length) back.focus();
  return dialog;
}

/** A named field of a form. */
export function field(label, control, hint) {
  numbers += 1;
  control.id = `field-${numbers}`;
  const help = hint && h("small", { id: `${control.id}-hint` }, hint);
  if (help) control.setAttribute("aria-describedby", help.id);
  const box = control.type === "checkbox";
  return h("div", { class: box ? "field check" : "field" }, box ? [control, h("label", { for: control.id }, label)] : [h("label", { for: control.id }, label), control], help);
}

export const lines = (text) => text.split(/\r?\n/).map((line) => line.trim()).filter(Boolean);
