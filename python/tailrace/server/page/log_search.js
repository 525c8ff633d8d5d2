// Looking for text in a log: the server finds it, the page goes from place to place.

import { h, setText } from "./dom.js";
import { LogMarks } from "./log_marks.js";

/** How many places are kept. */
const MOST_PLACES = 100_000;
/** How long typing may pause, in milliseconds. */
const PAUSE = 300;
/** Of the height of what is seen: how far below its top what was found is shown. */
const SHARE = 0.3;

/** A field for text, buttons for the next place and the one before, and marks. */
export class LogSearch {
  /**
   * @param {{view: import("./log_view.js").LogView, find: (text: string, from: number, signal: AbortSignal) =>
   *   Promise<{places: number[], next: number, isEnd: boolean}>, onError: (error: Error) => void}} parts
   */
  constructor({ view, find, onError }) {
    this._view = view;
    this._find = find;
    this._onError = onError;
    this.marks = new LogMarks();
    this._input = h("input", {
      type: "search",
      "aria-label": "Search in the log",
      placeholder: "Search ( / )",
      maxlength: 200,
      autocomplete: "off",
      spellcheck: "false",
      on: { input: () => this._typed(), keydown: (event) => this._onKey(event) },
    });
    const button = (text, label, step) =>
      h(
        "button",
        {
          type: "button",
          "aria-label": label,
          title: label,
          on: { click: () => this._go(step) },
        },
        text,
      );
    this._count = h("span", { class: "log-count", role: "status" });
    this.element = h(
      "span",
      { class: "log-search", role: "search" },
      this._input,
      this._count,
      button("↑", "Previous place", -1),
      button("↓", "Next place", 1),
    );
    this._onSlash = (event) => this._maybeFocus(event);
    document.addEventListener("keydown", this._onSlash);
    this.reset();
  }

  close() {
    this._running?.abort();
    clearTimeout(this._timer);
    this.marks.close();
    document.removeEventListener("keydown", this._onSlash);
  }

  /** Look anew, in a log that may be another one; what is seen stays. */
  reset() {
    this._running?.abort();
    this._running = new AbortController();
    this._scanning = null;
    clearTimeout(this._timer);
    this._places = [];
    this._next = 0;
    this._chosen = -1;
    this._isWhole = false;
    this._text = this._input.value;
    this.marks.look(this._text);
    this._tell();
    if (this._text) this._scan().catch(this._onError);
  }

  _typed() {
    clearTimeout(this._timer);
    this._timer = setTimeout(() => {
      this.reset();
      if (this._text) this._go(1);
    }, PAUSE);
  }

  _onKey(event) {
    if (event.key === "Enter") {
      event.preventDefault();
      if (this._input.value !== this._text) this.reset();
      this._go(event.shiftKey ? -1 : 1);
    } else if (event.key === "Escape") {
      event.preventDefault();
      this._input.value = "";
      this.reset();
      this._view.element.focus();
    }
  }

  _maybeFocus(event) {
    const isTyping =
      event.target instanceof Element && event.target.closest("input, textarea, select, [contenteditable]");
    if (event.key !== "/" || event.ctrlKey || event.metaKey || event.altKey || isTyping) return;
    event.preventDefault();
    this._input.focus();
    this._input.select();
  }

  /** Look through what was not looked through yet. */
  _scan() {
    if (!this._scanning) {
      const scanning = this._scanOn(this._running.signal).finally(() => {
        if (this._scanning === scanning) this._scanning = null;
      });
      this._scanning = scanning;
    }
    return this._scanning;
  }

  async _scanOn(signal) {
    this._isWhole = false;
    while (!this._isWhole && this._places.length < MOST_PLACES) {
      const { places, next, isEnd } = await this._find(this._text, this._next, signal);
      if (signal.aborted) return;
      for (const place of places) this._places.push(place);
      this._next = next;
      this._isWhole = isEnd;
      this._tell();
    }
  }

  /** Go so many places on. */
  async _go(step) {
    if (!this._text) return;
    try {
      // There may be more in it than before.
      await this._scan();
      const count = this._places.length;
      if (!count || this._text !== this._input.value) return;
      const from = this._chosen >= 0 ? this._chosen + step : this._indexBehind(this._view.position) - (step < 0);
      this._chosen = (from + count) % count;
      this._tell();
      await this._show(this._places[this._chosen]);
    } catch (error) {
      if (error.name !== "AbortError") this._onError(error);
    }
  }

  async _show(place) {
    // It may be behind what was there when somebody looked last.
    this._view.grow(this._next);
    if (!this._view.has(place) && !(await this._view.showAt(place, SHARE))) return;
    const range = this.marks.choose(place);
    if (range) this._view.reveal(range, SHARE);
  }

  _indexBehind(place) {
    const index = this._places.findIndex((one) => one >= place);
    return index < 0 ? 0 : index;
  }

  _tell() {
    const count = this._places.length;
    const isMore = !this._isWhole;
    const number = `${count.toLocaleString("en")}${isMore ? "+" : ""}`;
    const told = this._chosen >= 0 ? `${(this._chosen + 1).toLocaleString("en")} of ${number}` : number;
    setText(this._count, this._text ? (count || isMore ? told : "not found") : "");
  }
}
