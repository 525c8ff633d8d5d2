// The live log of a chunk: shown from its end, followed while it is written.

import { ApiError } from "./api.js";
import { h, setText, size as sizeText } from "./dom.js";
import { LogBytes, MOST_NEW } from "./log_bytes.js";
import { LogSearch } from "./log_search.js";
import { LogView } from "./log_view.js";

/** How much of its end is shown at first, and of what comes at a time: some screens. */
const TAIL = 2 ** 15;
/** How long a question for more may wait, in seconds. */
const WAIT = 20;
/** The same while there is nothing, and the other stream may have something. */
const EMPTY_WAIT = 2;
/** Between two questions, in milliseconds: while it is followed, and while it is not. */
const PAUSE = 200;
const LONG_PAUSE = 2000;
/** Between attempts to reach the server again, in milliseconds. */
const RETRIES = [500, 1000, 2000, 5000];

/**
 * @param {{jobId: string, chunkId: number, stream?: "stdout"|"stderr"}} which
 * @returns {{element: HTMLElement, close: () => void, messages: (list: Object[]) => void}}
 */
export function createLog({ jobId, chunkId, stream = "stderr" }) {
  const log = new Log(jobId, chunkId, stream);
  return { element: log.element, close: () => log.close(), messages: (list) => log.messages(list) };
}

class Log {
  constructor(jobId, chunkId, stream) {
    this._jobId = jobId;
    this._chunkId = chunkId;
    this._stream = stream;
    /** Which one is wanted; null: the last. */
    this._attempt = null;
    /** Whether the stream is that which somebody wanted, or which has something. */
    this._isChosen = false;
    /** How many there are, as far as is known. */
    this._count = 1;
    this._isClosed = false;
    this._view = new LogView((start, end) => this._bytes.read(start, end), {
      onScroll: () => this._tell(),
      onError: (error) => this._fail(error),
      onBlock: (block, isThere) => this._search?.marks.change(block, isThere),
    });
    this._search = new LogSearch({
      view: this._view,
      find: (text, from, signal) => this._bytes.search(text, from, signal),
      onError: (error) => this._fail(error),
    });
    this._makeElement();
    this._onVisibility = () => (document.hidden ? this._stop() : this._start());
    document.addEventListener("visibilitychange", this._onVisibility);
    this._open();
  }

  close() {
    this._isClosed = true;
    this._stop();
    this._search.close();
    this._view.close();
    document.removeEventListener("visibilitychange", this._onVisibility);
  }

  /** @param {Object[]} list the feed's messages of the job */
  messages(list) {
    const begins = list.find(({ change }) => change?.chunkId === this._chunkId && change.state === "running");
    if (!begins) return;
    this._count = begins.change.details.attempt;
    // Who reads an earlier one goes on to read it.
    if (this._attempt === null && (!this._isOpen || this._view.isPinned)) this._open();
    else this._attempt ??= this._bytes.attempt;
    this._tell();
  }

  _makeElement() {
    const button = (text, click, props = {}) => h("button", { type: "button", on: { click }, ...props }, text);
    this._streams = ["stdout", "stderr"].map((name) => button(name, () => this._choose({ stream: name })));
    this._attempts = h("select", { "aria-label": "Attempt", on: { change: () => this._chooseAttempt() } });
    this._wrapping = button("Wrap", () => this._wrap(), { "aria-pressed": "false", title: "Long lines go on below" });
    this._following = button("Follow", () => this._follow(), {
      "aria-pressed": "false",
      title: "Stay at the end (End)",
    });
    this._download = h("a", { class: "button" }, "Download");
    this._status = h("span", { role: "status" });
    this._size = h("span");
    this._text = this._view.element;
    this._text.setAttribute("role", "log");
    // What comes is too much to be read out: the line below tells that something does.
    this._text.setAttribute("aria-live", "off");
    this._text.addEventListener("keydown", (event) => this._onKey(event));
    this.element = h(
      "div",
      { class: "log" },
      h(
        "div",
        { class: "tools" },
        h("span", { class: "log-streams", role: "group", "aria-label": "Stream" }, this._streams),
        this._attempts,
        this._wrapping,
        button("Begin", () => this._begin(), { title: "Go to the beginning (Home)" }),
        this._following,
        this._download,
        this._search.element,
      ),
      this._text,
      h("p", { class: "log-status" }, this._status, this._size),
    );
  }

  _choose({ stream = this._stream, attempt = this._attempt }) {
    this._isChosen = true;
    this._stream = stream;
    this._attempt = attempt;
    this._open();
  }

  _chooseAttempt() {
    const { value } = this._attempts;
    this._choose({ attempt: value ? Number(value) : null });
  }

  /** Show the end of the log that is wanted. */
  _open() {
    this._bytes = new LogBytes({
      jobId: this._jobId,
      chunkId: this._chunkId,
      stream: this._stream,
      attempt: this._attempt,
    });
    this._view.reset();
    this._search.reset();
    this._isOpen = false;
    this._isEnd = false;
    this._problem = "";
    this._start();
  }

  _start(failures = 0) {
    this._stop();
    if (this._isClosed || document.hidden) return;
    this._running = new AbortController();
    this._run(this._running.signal, failures);
  }

  _stop() {
    this._running?.abort();
  }

  /** Show what comes until the log has ended; a server that does not answer is asked again, from the same place. */
  async _run(signal, failures) {
    while (!signal.aborted) {
      try {
        if (failures) {
          await sleep(RETRIES[Math.min(failures, RETRIES.length) - 1], signal);
          await this._bytes.ask(signal);
          failures = 0;
          this._problem = "";
          this._view.refresh();
        }
        if (!this._isOpen) await this._showEnd(signal);
        this._tell();
        if (await this._isOther(signal)) return;
        if (await this._more(signal)) return;
        await sleep(this._view.isPinned ? PAUSE : LONG_PAUSE, signal);
      } catch (error) {
        if (signal.aborted) return;
        if (!this._explain(error)) return;
        failures++;
      }
    }
  }

  /** Renderers differ in which stream they use. @returns {Promise<boolean>} whether it is the other one, which is shown then */
  async _isOther(signal) {
    if (this._isChosen || this._view.size) return false;
    const stream = this._stream === "stderr" ? "stdout" : "stderr";
    const other = new LogBytes({ jobId: this._jobId, chunkId: this._chunkId, stream, attempt: this._attempt });
    if (!(await other.ask(signal)) || signal.aborted) return false;
    this._choose({ stream });
    return true;
  }

  async _showEnd(signal) {
    const { start, bytes } = await this._bytes.tail(TAIL, signal);
    if (signal.aborted) return;
    this._isOpen = true;
    this._view.showEnd(start, bytes);
    this._tell();
  }

  /** @returns {Promise<boolean>} whether nothing more will come */
  async _more(signal) {
    const view = this._view;
    const offset = view.size;
    const { bytes, isEnd } = await this._bytes.next(offset, offset || this._isChosen ? WAIT : EMPTY_WAIT, signal);
    await frame();
    if (signal.aborted) return true;
    if (bytes.length && view.isPinned) {
      // What nobody could read is left out: it is there once it is scrolled to.
      if (bytes.length >= MOST_NEW) await this._showEnd(signal);
      else if (bytes.length > TAIL) view.showEnd(offset + bytes.length - TAIL, bytes.subarray(-TAIL));
      else view.append(bytes);
    } else if (bytes.length >= MOST_NEW) {
      view.grow(await this._bytes.ask(signal));
    } else if (bytes.length) {
      view.grow(offset + bytes.length);
    }
    this._isEnd = isEnd;
    this._tell();
    return isEnd;
  }

  _follow() {
    // What was scrolled past is not loaded for this.
    this._isOpen = false;
    this._start();
  }

  _begin() {
    this._view.showAt(0).catch((error) => this._fail(error));
  }

  _wrap() {
    const isWanted = this._wrapping.getAttribute("aria-pressed") !== "true";
    this._wrapping.setAttribute("aria-pressed", String(isWanted));
    this._view.wrap(isWanted);
  }

  _onKey(event) {
    const { key, altKey, shiftKey } = event;
    if (altKey || shiftKey || (key !== "Home" && key !== "End")) return;
    event.preventDefault();
    if (key === "Home") this._begin();
    else this._follow();
  }

  /** Something else than what comes could not be asked for. */
  _fail(error) {
    if (error.name !== "AbortError" && this._explain(error)) this._start(1);
  }

  /** @returns {boolean} whether it may pass */
  _explain(error) {
    if (!(error instanceof ApiError)) throw error;
    const mayPass = error.status === 0 || error.status >= 500;
    this._problem = mayPass ? "Not connected – trying again" : error.message;
    this._tell();
    return mayPass;
  }

  _tell() {
    const { isPinned, size } = this._view;
    for (const button of this._streams)
      button.setAttribute("aria-pressed", String(button.textContent === this._stream));
    this._following.setAttribute("aria-pressed", String(isPinned && !this._isEnd));
    setText(this._following, this._isEnd ? "End" : "Follow");
    this._tellAttempts();
    this._download.href = this._bytes.address;
    this._download.download = `${this._jobId}-chunk-${this._chunkId}-${this._stream}.log`;
    this._text.setAttribute("aria-label", `${this._stream} of chunk ${this._chunkId}`);
    this.element.classList.toggle("lost", this._problem !== "");
    setText(this._status, this._problem || this._state(size, isPinned));
    // It changes too often to be read out.
    setText(this._size, size && !this._problem ? `, ${sizeText(size)}` : "");
  }

  _state(size, isPinned) {
    if (!this._isOpen) return "Loading …";
    if (this._isEnd) return size ? "Ended" : "Ended: nothing was written";
    if (!size) return "Nothing has been written yet";
    return isPinned ? "Following" : "Not followed";
  }

  _tellAttempts() {
    this._count = Math.max(this._count, this._bytes.attempt ?? 1);
    if (this._attempts.options.length !== this._count + 1) {
      const options = Array.from({ length: this._count }, (_, index) =>
        h("option", { value: index + 1 }, `Attempt ${index + 1}`),
      );
      this._attempts.replaceChildren(h("option", { value: "" }, "Last attempt"), ...options);
    }
    this._attempts.value = this._attempt ?? "";
    this._attempts.hidden = this._count < 2;
  }
}

function frame() {
  return new Promise((resolve) => requestAnimationFrame(resolve));
}

function sleep(milliseconds, signal) {
  return new Promise((resolve) => {
    const end = () => {
      clearTimeout(timer);
      signal.removeEventListener("abort", end);
      resolve();
    };
    const timer = setTimeout(end, milliseconds);
    signal.addEventListener("abort", end);
  });
}
