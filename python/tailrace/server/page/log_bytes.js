// The bytes of a log, of which the server gives what is asked for.

import { ApiError, request } from "./api.js";

const PAGE = 2 ** 16;
const MOST_PAGES = 16;
/** The server gives no more of what is new at a time. */
export const MOST_NEW = 2 ** 18;

/** A log, and its parts that were asked for last: about a MiB of them is kept. */
export class LogBytes {
  /** @param {{jobId: string, chunkId: number, stream: string, attempt: ?number}} which without an attempt: the last one */
  constructor({ jobId, chunkId, stream, attempt }) {
    this._place = `/jobs/${encodeURIComponent(jobId)}/chunks/${chunkId}`;
    this._stream = stream;
    this._pages = new Map();
    /** That which wrote it; null until it is known. */
    this.attempt = attempt;
    /** In bytes, as far as it is known. */
    this.size = 0;
  }

  /** @returns {string} the address of the whole log */
  get address() {
    return `/api/v1${this._path("/log")}`;
  }

  /** @param {AbortSignal} signal @returns {Promise<number>} its size now */
  async ask(signal) {
    const response = await request(this._path("/log"), { method: "HEAD", signal });
    this._tell(response);
    this.size = Number(response.headers.get("Content-Length"));
    return this.size;
  }

  /** @param {number} length @param {AbortSignal} signal @returns {Promise<{start: number, bytes: Uint8Array}>} its end */
  async tail(length, signal) {
    const end = await this.ask(signal);
    const start = Math.max(0, end - length);
    return { start, bytes: await this._range(start, end, signal) };
  }

  /** @param {number} start @param {number} end @returns {Promise<Uint8Array>} fewer where the log ends */
  async read(start, end) {
    const first = Math.floor(start / PAGE);
    const numbers = Array.from({ length: Math.ceil(end / PAGE) - first }, (_, index) => first + index);
    const pages = await Promise.all(numbers.map((number) => this._page(number)));
    const bytes = joined(pages);
    return bytes.subarray(Math.max(0, start - first * PAGE), end - first * PAGE);
  }

  /**
   * Return what has come behind a place, once there is something or the log has ended; nothing after `wait` seconds.
   * @param {number} offset @param {number} wait @param {AbortSignal} signal
   * @returns {Promise<{bytes: Uint8Array, isEnd: boolean}>}
   */
  async next(offset, wait, signal) {
    const path = this._path("/output/next", { offset, wait });
    // A connection that died without a word is left.
    const response = await request(path, {
      signal: AbortSignal.any([signal, AbortSignal.timeout(1000 * (wait + 10))]),
    });
    const bytes = await body(response);
    this._tell(response);
    this.size = Math.max(this.size, offset + bytes.length);
    return { bytes, isEnd: response.headers.get("Tailrace-Ended") === "true" };
  }

  /**
   * Look for text from a place on, as far as the server looks at a time.
   * @param {string} text @param {number} from @param {AbortSignal} signal
   * @returns {Promise<{places: number[], next: number, isEnd: boolean}>}
   */
  async search(text, from, signal) {
    return (await request(this._path("/log/search", { text, offset: from }), { signal })).json();
  }

  _path(name, more = {}) {
    const attempt = this.attempt ? { attempt: this.attempt } : {};
    return `${this._place}${name}?${new URLSearchParams({ stream: this._stream, ...attempt, ...more })}`;
  }

  async _range(start, end, signal) {
    if (start >= end) return new Uint8Array();
    const headers = { Range: `bytes=${start}-${end - 1}` };
    const response = await request(this._path("/log"), { headers, signal });
    this._tell(response);
    return body(response);
  }

  _page(number) {
    const kept = this._pages.get(number);
    this._pages.delete(number);
    const page = kept ?? this._range(number * PAGE, (number + 1) * PAGE);
    this._pages.set(number, page);
    if (this._pages.size > MOST_PAGES) this._pages.delete(this._pages.keys().next().value);
    if (!kept) {
      const forget = () => this._pages.get(number) === page && this._pages.delete(number);
      // There may be more of the last one soon.
      page.then((bytes) => bytes.length < PAGE && forget(), forget);
    }
    return page;
  }

  _tell(response) {
    // 0: it has not begun.
    this.attempt = Number(response.headers.get("Tailrace-Attempt")) || this.attempt;
  }
}

/** @param {Uint8Array[]} parts @returns {Uint8Array} */
export function joined(parts) {
  if (parts.length === 1) return parts[0];
  const bytes = new Uint8Array(parts.reduce((length, part) => length + part.length, 0));
  let end = 0;
  for (const part of parts) {
    bytes.set(part, end);
    end += part.length;
  }
  return bytes;
}

async function body(response) {
  try {
    return new Uint8Array(await response.arrayBuffer());
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError("the connection was lost", 0);
  }
}
