// A part of a log, as large as what is seen of it and some more, that moves as it is scrolled.
//
// The scroll bar is that of the whole log: what is not there has the height that its bytes take on average.

import { PLAIN, isSame, render } from "./ansi.js";
import { h } from "./dom.js";
import { joined } from "./log_bytes.js";
import { MOST_LINE, endsRow, firstRows, lastRows, rowStart } from "./log_rows.js";
import { rangeOf, textsOf } from "./text_ranges.js";

/** What is asked for at a time. */
const PIECE = 2 ** 16;
/** Browsers do not lay out more than some 17 million pixels. */
const MOST_HEIGHT = 6e6;
/** The height of a byte before any was seen: lines of 80 bytes. */
const USUAL_HEIGHT = 18 / 80;

/**
 * Some lines of the log.
 * @typedef {{start: number, bytes: Uint8Array, element: HTMLElement, pen: object, penBehind: object}} Block
 */

/** Shows a log, whose bytes it asks for. */
export class LogView {
  /**
   * @param {(start: number, end: number) => Promise<Uint8Array>} read fewer bytes where the log ends
   * @param {{onScroll: () => void, onError: (error: Error) => void, onBlock: (block: Block, isThere: boolean) => void}}
   *   listeners `onBlock` is told what comes and goes
   */
  constructor(read, { onScroll, onError, onBlock }) {
    this._read = read;
    this._onScroll = onScroll;
    this._onError = onError;
    this._onBlock = onBlock;
    this._rows = h("div", { class: "log-rows" });
    this._canvas = h("div", { class: "log-canvas" }, this._rows);
    this.element = h(
      "div",
      { class: "log-text", tabindex: 0, on: { scroll: () => this._scrolled(), copy } },
      this._canvas,
    );
    /** @type {Block[]} */
    this.blocks = [];
    this._resizing = new ResizeObserver(() => this._resized());
    this._resizing.observe(this.element);
    this.reset();
  }

  close() {
    this._turn++;
    this._resizing.disconnect();
  }

  /** Load what should be there, and could not be had before. */
  refresh() {
    this._scrolled();
  }

  /** Show nothing, of a log that may be another one. */
  reset() {
    this._turn = (this._turn ?? 0) + 1;
    this._isLoading = false;
    this._clear(0);
    this.size = 0;
    this.isPinned = false;
    this._top = 0;
    this._scale = USUAL_HEIGHT;
    this._place();
  }

  /** The place behind the last byte that is there. */
  get end() {
    const last = this.blocks.at(-1);
    return last ? last.start + last.bytes.length : this._start;
  }

  /** The place of the line that is seen first; where there is none yet, about that. */
  get position() {
    const { top } = this.element.getBoundingClientRect();
    const isSeen = ({ element }) => element.getBoundingClientRect().bottom > top + 1;
    const block = this._top <= this.element.scrollTop ? this.blocks.find(isSeen) : undefined;
    return block ? lineAt(block, top + 1) : this._placeAt(this.element.scrollTop);
  }

  /** @param {number} size how large the log is at least */
  grow(size) {
    this.size = Math.max(this.size, size);
    this._place();
  }

  /** Show these bytes, with which the log ends, and stay at its end. */
  showEnd(start, bytes) {
    this._turn++;
    this._isLoading = false;
    this.size = start + bytes.length;
    this.isPinned = true;
    const from = start && Math.min(bytes.length, firstLine(bytes));
    this._clear(start + from);
    this._add(bytes.subarray(from));
    this._measure();
    this._top = this._start * this._scale;
    this._place();
    this._scrolled();
  }

  /** Show what the log has more, behind all that is shown. */
  append(bytes) {
    this.size = this.end + bytes.length;
    this._add(bytes);
    this._trim();
  }

  /**
   * Show the line with a byte, at this share of the height.
   * @param {number} place @param {number} [share]
   * @param {number} [y] where it is to be in the whole log's height, in pixels
   * @returns {Promise<boolean>} whether nothing else was wanted meanwhile
   */
  async showAt(place, share = 0, y = place * this._scale) {
    const turn = ++this._turn;
    this._isLoading = true;
    this.isPinned = false;
    const from = Math.max(0, place - PIECE / 2);
    let bytes;
    try {
      bytes = await this._read(from, Math.min(this.size, from + PIECE));
    } finally {
      if (turn === this._turn) this._isLoading = false;
    }
    if (turn !== this._turn) return false;
    const seam = rowStart(bytes, Math.min(place - from, bytes.length), from === 0);
    const before = bytes.subarray(0, seam);
    const begin = seam && lastRows(before, from === 0);
    this._clear(from + begin);
    this._add(before.subarray(begin));
    const above = this._height;
    const after = bytes.subarray(seam);
    this._add(after.subarray(0, firstRows(after)));
    this._measure();
    this._top = Math.round(y) - above;
    this._place(Math.round(y - share * this.element.clientHeight));
    this._scrolled();
    return true;
  }

  /** @param {number} place @returns {boolean} whether that byte is there */
  has(place) {
    return place >= this._start && place < this.end;
  }

  /** Have what is there be seen, at this share of the height if it is not, in a box that is all in the window. */
  reveal(range, share) {
    const { element } = this;
    const { top, bottom, left, right } = range.getBoundingClientRect();
    const view = element.getBoundingClientRect();
    this.isPinned = false;
    if (top < view.top || bottom > view.bottom) element.scrollTop += top - view.top - share * element.clientHeight;
    if (left < view.left || right > view.right) element.scrollLeft += left - view.left - element.clientWidth / 2;
    element.scrollIntoView({ block: "nearest" });
    this._scrolled();
  }

  /** Have long lines go on below, or not; what is seen stays. */
  wrap(isWanted) {
    const { position, isPinned } = this;
    this.element.classList.toggle("wrap", isWanted);
    if (isPinned || !this.blocks.length) this._place();
    else this.showAt(position).catch(this._onError);
  }

  get _start() {
    return this.blocks[0]?.start ?? this._empty;
  }

  get _height() {
    return this._rows.offsetHeight;
  }

  _clear(start) {
    for (const block of this.blocks ?? []) this._onBlock(block, false);
    this.blocks = [];
    this._empty = start;
    this._rows.replaceChildren();
  }

  /** Lay out bytes behind all that is there. */
  _add(bytes) {
    const last = this.blocks.at(-1);
    let start = this.end;
    let rest = bytes;
    // The last line may go on.
    if (last && last.bytes.length < MOST_LINE && !endsRow(last.bytes, last.bytes.length - 1)) {
      rest = joined([last.bytes, bytes]);
      start = last.start;
      this._remove(last);
    }
    while (rest.length) {
      const length = firstRows(rest);
      const pen = this.blocks.at(-1)?.penBehind ?? PLAIN;
      const block = this._make(start, rest.slice(0, length), pen);
      this.blocks.push(block);
      this._rows.append(block.element);
      this._onBlock(block, true);
      start += length;
      rest = rest.subarray(length);
    }
  }

  _prepend(start, bytes) {
    const block = this._make(start, bytes.slice(), PLAIN);
    this.blocks.unshift(block);
    this._rows.prepend(block.element);
    this._onBlock(block, true);
    // Colours may go on behind it.
    for (let index = 1; index < this.blocks.length; index++) {
      const pen = this.blocks[index - 1].penBehind;
      const old = this.blocks[index];
      if (isSame(pen, old.pen)) break;
      const block = this._make(old.start, old.bytes, pen);
      this._onBlock(old, false);
      this.blocks[index] = block;
      old.element.replaceWith(block.element);
      this._onBlock(block, true);
    }
  }

  _remove(block) {
    this._onBlock(block, false);
    this.blocks.splice(this.blocks.indexOf(block), 1);
    if (!this.blocks.length) this._empty = block.start;
    block.element.remove();
  }

  _make(start, bytes, pen) {
    const { nodes, pen: penBehind } = render(new TextDecoder().decode(bytes), pen);
    return { start, bytes, element: h("div", {}, nodes), pen, penBehind };
  }

  /** Take from what is there how high a byte is. */
  _measure() {
    const length = this.end - this._start;
    if (length > 1000) this._scale = this._height / length;
  }

  /** Give all its place; what is seen does not move, unless it is to be seen from elsewhere. */
  _place(from = this.element.scrollTop) {
    const { element } = this;
    this._scale = Math.min(this._scale, MOST_HEIGHT / Math.max(1, this.size));
    const isLost = this._top < 1 || this._top > 2 * MOST_HEIGHT;
    const top = Math.round(this._start === 0 ? 0 : isLost ? this._start * this._scale : this._top);
    const scrollTop = from + top - this._top;
    this._top = top;
    this._rows.style.top = `${top}px`;
    const behind = Math.max(0, this.size - this.end) * this._scale;
    this._canvas.style.height = `${top + this._height + behind}px`;
    const wanted = this.isPinned ? element.scrollHeight : scrollTop;
    if (wanted !== element.scrollTop) element.scrollTop = wanted;
  }

  _placeAt(y) {
    const top = this._top;
    const bottom = top + this._height;
    if (y < top) return Math.floor(this._start * (y / top));
    if (y >= bottom) return Math.min(this.size, this.end + Math.floor((y - bottom) / this._scale));
    for (const { start, bytes, element } of this.blocks) {
      const below = y - top - element.offsetTop;
      if (below < element.offsetHeight) return start + Math.floor(bytes.length * (below / element.offsetHeight));
    }
    return this.end;
  }

  _scrolled() {
    const { element } = this;
    if (this.isPinned && element.scrollTop + element.clientHeight < element.scrollHeight - 4) this.isPinned = false;
    this._onScroll();
    if (!this._isLoading) this._load().catch(this._onError);
  }

  _resized() {
    this._place();
    this.refresh();
  }

  /** Have what is seen, and a screen before and behind it. */
  async _load() {
    const turn = this._turn;
    this._isLoading = true;
    try {
      while (turn === this._turn && (await this._loadOne(turn))) this._trim();
    } finally {
      if (turn === this._turn) this._isLoading = false;
    }
  }

  /** @returns {Promise<boolean>} whether there may be more to load */
  async _loadOne(turn) {
    const { scrollTop, clientHeight } = this.element;
    const above = scrollTop - this._top;
    const below = this._height - above - clientHeight;
    const margin = clientHeight;
    if (!clientHeight) return false;
    if (!this.isPinned && (above < -2 * clientHeight || below < -2 * clientHeight)) {
      // The thumb of the scroll bar stays where it is.
      await this.showAt(this._placeAt(scrollTop), 0, scrollTop);
      return false;
    }
    if (below < margin && this.end < this.size) {
      const end = this.end;
      const bytes = await this._read(end, Math.min(this.size, end + PIECE));
      if (turn !== this._turn || end !== this.end || !bytes.length) return false;
      this._add(bytes.subarray(0, firstRows(bytes)));
    } else if (above < margin && this._start > 0) {
      const start = this._start;
      const from = Math.max(0, start - PIECE / 2);
      const bytes = await this._read(from, start);
      if (turn !== this._turn || start !== this._start || bytes.length < start - from) return false;
      const begin = lastRows(bytes, from === 0);
      const height = this._height;
      this._prepend(from + begin, bytes.subarray(begin));
      this._top -= this._height - height;
    } else {
      return false;
    }
    return true;
  }

  /** Let go of what is more than three screens away. */
  _trim() {
    const { scrollTop, clientHeight } = this.element;
    const far = 3 * clientHeight;
    const isAbove = (block) => this._top + block.element.offsetTop + block.element.offsetHeight < scrollTop - far;
    const isBelow = (block) => this._top + block.element.offsetTop > scrollTop + clientHeight + far;
    while (this.blocks.length > 1 && isAbove(this.blocks[0])) {
      this._top += this.blocks[0].element.offsetHeight;
      this._remove(this.blocks[0]);
    }
    while (!this.isPinned && this.blocks.length > 1 && isBelow(this.blocks.at(-1))) this._remove(this.blocks.at(-1));
    this._place();
  }
}

/** @returns {number} the place where the line begins that is at this height of the window */
function lineAt({ start, bytes, element }, y) {
  const texts = textsOf(element);
  const begins = [0, ...Array.from(element.textContent.matchAll(/\n(?!$)/g), ({ index }) => index + 1)];
  let low = 0;
  let high = begins.length - 1;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (rangeOf(texts, begins[middle], 1).getBoundingClientRect().top <= y) low = middle;
    else high = middle - 1;
  }
  let place = 0;
  for (let rows = 0; rows < low; place++) if (endsRow(bytes, place)) rows++;
  return start + place;
}

/** @returns {number} where the first line begins that is whole, 0 if there is none */
function firstLine(bytes) {
  for (let index = 0; index < bytes.length - 1; index++) if (endsRow(bytes, index)) return index + 1;
  return 0;
}

/** Copy the bytes' text alone: without a line end between what is laid out apart. */
function copy(event) {
  const selection = getSelection();
  if (selection.isCollapsed) return;
  event.preventDefault();
  const parts = Array.from({ length: selection.rangeCount }, (_, index) => selection.getRangeAt(index).cloneContents());
  event.clipboardData.setData("text/plain", parts.map((part) => part.textContent).join("\n"));
}
