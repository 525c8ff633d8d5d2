// Marks what is looked for in the blocks of a log, without changing them: what is selected stays so.
// https://developer.mozilla.org/en-US/docs/Web/API/CSS_Custom_Highlight_API; a browser without it marks nothing.

import { render } from "./ansi.js";
import { rangeOf, textsOf } from "./text_ranges.js";

const MOST = 2000;

/** Marks in all blocks that are there. */
export class LogMarks {
  constructor() {
    this._blocks = new Map();
    this._pattern = null;
    this._current = null;
    if (!globalThis.Highlight) return;
    this._found = new Highlight();
    this._chosen = new Highlight();
    this._chosen.priority = 1;
    CSS.highlights.set("log-found", this._found);
    CSS.highlights.set("log-chosen", this._chosen);
  }

  close() {
    this._found?.clear();
    this._chosen?.clear();
  }

  /** @param {string} text what is marked from now on; "": nothing */
  look(text) {
    const escaped = text.replace(/[\\^$.*+?()[\]{}|/]/g, "\\$&");
    this._pattern = text ? new RegExp(escaped, "giu") : null;
    this._current = null;
    this._chosen?.clear();
    for (const block of this._blocks.keys()) this._mark(block);
  }

  /** @param {import("./log_view.js").Block} block @param {boolean} isThere whether it has come or goes */
  change(block, isThere) {
    if (isThere) {
      this._mark(block);
      return;
    }
    for (const range of this._blocks.get(block) ?? []) this._found?.delete(range);
    this._blocks.delete(block);
  }

  /** @param {number} place that of a byte @returns {?Range} what stands there, if it is there; it is marked apart */
  choose(place) {
    this._current = place;
    this._chosen?.clear();
    for (const block of this._blocks.keys()) {
      const range = this._choose(block);
      if (range) return range;
    }
    return null;
  }

  _mark(block) {
    for (const range of this._blocks.get(block) ?? []) this._found?.delete(range);
    const ranges = [];
    this._blocks.set(block, ranges);
    if (!this._pattern) return;
    const texts = textsOf(block.element);
    for (const match of block.element.textContent.matchAll(this._pattern)) {
      ranges.push(rangeOf(texts, match.index, match[0].length));
      if (ranges.length === MOST) break;
    }
    for (const range of ranges) this._found?.add(range);
    this._choose(block);
  }

  _choose(block) {
    const { start, bytes, element, pen } = block;
    if (this._current === null || this._current < start || this._current >= start + bytes.length) return null;
    const before = render(new TextDecoder().decode(bytes.subarray(0, this._current - start)), pen).nodes.textContent;
    this._pattern.lastIndex = before.length;
    const match = this._pattern.exec(element.textContent);
    this._pattern.lastIndex = 0;
    // With an escape sequence in it, it would not have been found there.
    const length = match?.index === before.length ? match[0].length : 1;
    const range = rangeOf(textsOf(element), before.length, length);
    if (range) this._chosen?.add(range);
    return range;
  }
}
