// The nodes of the farm, and whether more is started on them.

import { get, send } from "./api.js";
import { counted, h, size } from "./dom.js";
import { listen } from "./feed.js";
import { say } from "./dialogs.js";

const PAUSE = 2000; // ms

/** @param {{canChange: boolean}} options @returns {{element: HTMLElement, close: () => void}} */
export function createNodes({ canChange }) {
  const body = h("tbody");
  const element = h(
    "section",
    {},
    h("h2", {}, "Nodes"),
    h(
      "p",
      { class: "about" },
      "Where chunks run. A node that is drained lets what runs on it end, and is given no more.",
    ),
    h(
      "div",
      { class: "table" },
      h(
        "table",
        {},
        h(
          "thead",
          {},
          h(
            "tr",
            {},
            ["Node", "State", "Running", "Has", ""].map((title) => h("th", { class: "text" }, title)),
          ),
        ),
        body,
      ),
    ),
  );
  let drawn = "";

  async function refresh() {
    if (document.hidden) return;
    try {
      const { nodes } = await get("/nodes");
      // A button that is drawn anew loses the focus.
      if (JSON.stringify(nodes) === drawn) return;
      drawn = JSON.stringify(nodes);
      body.replaceChildren(...nodes.map(row));
    } catch (error) {
      if (!drawn) body.replaceChildren(h("tr", {}, h("td", { class: "text", colspan: 5 }, error.message)));
    }
  }

  function row(node) {
    const name = node.name || "this machine";
    const state = node.isLeftOut ? "left out after failures" : node.isOpen ? "open" : "drained";
    const what = node.isOpen && !node.isLeftOut ? "drain" : "resume";
    const change = async () => {
      try {
        await send("POST", `/nodes/${what}?name=${encodeURIComponent(node.name)}`);
      } catch (error) {
        say(error.message);
      }
      refresh();
    };
    const has = Object.entries(node.capacity).map(([key, value]) => `${key} ${key === "memory" ? size(value) : value}`);
    return h(
      "tr",
      {},
      h("td", { class: "text" }, name, node.tags.length > 0 && h("small", {}, ` ${node.tags.join(", ")}`)),
      h("td", { class: "text" }, state),
      h("td", { class: "text" }, `${node.running} of ${counted(node.slots, "slot")}`),
      h("td", { class: "text wide" }, has.join(", ") || "–"),
      h(
        "td",
        {},
        canChange &&
          h(
            "button",
            { on: { click: change } },
            what === "drain" ? "Drain" : "Resume",
            h("span", { class: "hidden" }, ` ${name}`),
          ),
      ),
    );
  }

  const timer = setInterval(refresh, PAUSE);
  const stop = listen((messages) => {
    if (messages.some(({ gap, connected }) => gap || connected)) refresh();
  });
  return {
    element,
    close() {
      clearInterval(timer);
      stop();
    },
  };
}
