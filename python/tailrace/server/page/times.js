// How a job went until now: figures, failures, time line and plots, as its report shows them.

import { get } from "./api.js";
import { h, setText } from "./dom.js";
import { readMarkup, takeChildren } from "./markup.js";

const PAUSE = 3000; // ms between questions, however much happens
const QUESTIONS = 2; // after something happened: the log may have it a moment later
const PARTS = ["figures", "failures", "times"];

/**
 * @param {{jobId: string, onChunk: (chunkId: number) => void}} options `onChunk` is told whose bar or dot was clicked
 * @returns {{element: HTMLElement, messages: (list: object[]) => void, update: (job: object) => void,
 *   close: () => void}}
 */
export function createTimes({ jobId, onChunk }) {
  const asking = new AbortController();
  const note = h("p", { class: "note", role: "status" }, "Reading the logs …");
  const parts = PARTS.map((name) => ({ name, version: null, element: h("div", { class: "part" }) }));
  const element = h(
    "div",
    { class: "times", on: { click: onClick } },
    note,
    parts.map((part) => part.element),
  );
  let timer = 0;
  let due = QUESTIONS; // so many questions more
  let isAsking = false;
  let isRunning = false;

  function onClick({ target }) {
    const shape = target.closest("rect[data-chunk], circle[data-chunk], button[data-chunk]");
    if (shape) onChunk(Number(shape.dataset.chunk));
  }

  async function refresh() {
    if (isAsking || timer || !due || document.hidden) return;
    isAsking = true;
    due -= 1;
    let pause = PAUSE;
    try {
      for (const part of parts) {
        const again = await ask(part);
        // It takes the server long, which has not looked anew.
        if (again > 0) {
          due = Math.max(due, 1);
          pause = Math.max(pause, 1000 * again);
        }
      }
      setText(note, parts.every((part) => part.version === 0) ? "Nothing has begun." : "");
    } catch (error) {
      if (error.name === "AbortError") return;
      setText(note, error.message);
      due = error.status === 404 ? 0 : QUESTIONS;
    } finally {
      isAsking = false;
    }
    // What runs gets longer.
    if (isRunning) due = Math.max(due, 1);
    timer = setTimeout(() => {
      timer = 0;
      refresh();
    }, pause);
  }

  async function ask(part) {
    const known = part.version === null ? "" : `?known=${part.version}`;
    const { version, html, again } = await get(`/jobs/${jobId}/parts/${part.name}${known}`, asking.signal);
    part.version = version;
    if (html !== null) takeChildren(part.element, withButtons(readMarkup(html)));
    return again;
  }

  document.addEventListener("visibilitychange", refresh);
  refresh();
  return {
    element,
    messages() {
      due = QUESTIONS;
      refresh();
    },
    update(job) {
      isRunning = ["running", "merging"].includes(job?.state);
      refresh();
    },
    close() {
      asking.abort();
      clearTimeout(timer);
      document.removeEventListener("visibilitychange", refresh);
    },
  };
}

/** Have the heading of each failure open its chunk: a click elsewhere may want to select lines. */
function withButtons(markup) {
  for (const failure of markup.querySelectorAll("article[data-chunk]")) {
    const heading = failure.querySelector("h3");
    heading.replaceChildren(h("button", { "data-chunk": failure.dataset.chunk }, heading.textContent));
    failure.removeAttribute("data-chunk");
  }
  return markup;
}
