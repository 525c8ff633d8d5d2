// What is asked, and what is said once.

import { h } from "./dom.js";

/** @param {string} text shown for some seconds, and read out */
export function say(text) {
  document.querySelector(".toast")?.remove();
  const toast = h(
    "div",
    { class: "toast", role: "alert" },
    text,
    h("button", { on: { click: () => toast.remove() } }, "Close"),
  );
  document.body.append(toast);
  setTimeout(() => toast.remove(), 12000);
}

/**
 * Ask whether something is to be done that loses work.
 * @param {string} title @param {string} text @param {string} action what the button says
 * @returns {Promise<boolean>}
 */
export async function confirm(title, text, action) {
  return (await ask(title, text, action, [], true)) !== null;
}

/**
 * Ask for values.
 * @param {string} title
 * @param {string} text
 * @param {string} action what the button says
 * @param {{name: string, label: string, value: string, type?: string}[]} fields
 * @param {boolean} [isDanger]
 * @returns {Promise<Object<string, string> | null>} null if it was left
 */
export function ask(title, text, action, fields, isDanger = false) {
  const inputs = fields.map(({ name, value, type = "text" }) =>
    type === "area" ? h("textarea", { name, rows: 3 }, value) : h("input", { name, type, value }),
  );
  // The first button is that of the Enter key.
  const button = h("button", { class: isDanger ? "danger" : "main", value: "yes" }, action);
  const dialog = h(
    "dialog",
    { "aria-label": title },
    h("h2", {}, title),
    text && h("p", {}, text),
    h(
      "form",
      { method: "dialog" },
      inputs.map((input, index) => h("label", {}, fields[index].label, input)),
      h(
        "div",
        { class: "tools" },
        h("button", { type: "button", on: { click: () => dialog.close("") } }, "Back"),
        button,
      ),
    ),
  );
  document.body.append(dialog);
  dialog.showModal();
  (inputs[0] ?? button).focus();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => {
      dialog.remove();
      const values = Object.fromEntries(inputs.map((input) => [input.name, input.value]));
      resolve(dialog.returnValue === "yes" ? values : null);
    });
  });
}
