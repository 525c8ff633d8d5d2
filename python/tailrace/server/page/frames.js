// The frames of a job as small pictures, as they come: of a hundred thousand only those in sight have elements.

import { get } from "./api.js";
import { createAsking } from "./asking.js";
import { arrange, h, setText } from "./dom.js";
import { addressOf, createPicture, flawOf, titleOf } from "./frame_picture.js";
import { openComparison, openViewer } from "./frame_viewer.js";

const PAUSE = 1000; // ms between questions for what is new
const AT_REST = 80; // ms after which what is in sight is loaded: who scrolls past does not want it
const MOST = 5000; // frames in one answer
const GAP = 10; // px
const AROUND = 400; // px above and below the window that have elements, too
const CAPTION = 25; // px, below a picture
const KEYS = {
  ArrowLeft: () => -1,
  ArrowRight: () => 1,
  ArrowUp: (columns) => -columns,
  ArrowDown: (columns) => columns,
  Home: () => -Infinity,
  End: () => Infinity,
  PageUp: (columns, page) => -page,
  PageDown: (columns, page) => page,
};
const TELLS = new Set(["frame_finished", "frame_flagged"]);

/**
 * @param {{jobId: string, onChunk: (chunkId: number) => void}} options
 * @returns {{element: HTMLElement, messages: (list: object[]) => void, close: () => void}}
 */
export function createFrames({ jobId, onChunk }) {
  const known = new Map(); // frames by their keys
  const tiles = new Map(); // those that have elements, by the same keys
  const control = new AbortController();
  let shown = []; // frames in their order
  let places = new Map(); // of them, by their keys
  let flagged = 0;
  let onlyFlagged = false;
  let picked = null; // frames to compare, while they are chosen
  let active = ""; // the key of the one that the keyboard is at
  let ratio = 16 / 9;
  let isRatioKnown = false;
  let layout = null;
  let after = "";
  const asking = createAsking(load, PAUSE);
  let later = 0;
  let atRest = 0;
  let painting = 0;

  const note = h("p", { class: "note" }, "Loading …");
  const lacks = h("div", { class: "error", role: "note", hidden: true });
  const all = h("button", { on: { click: () => filter(false) } }, "All");
  const flags = h("button", { on: { click: () => filter(true) } }, "Flagged");
  const compare = h("button", { on: { click: () => pick(picked ? null : []) } }, "Compare two");
  const tools = h(
    "div",
    { class: "tools", role: "group", "aria-label": "Which frames", hidden: true },
    all,
    flags,
    compare,
  );
  const list = h("div", { class: "frames", role: "list", "aria-label": "Frames", on: { keydown: onKey } });
  const element = h(
    "section",
    { class: "contact-sheet" },
    h("h2", { class: "hidden" }, "Frames"),
    tools,
    note,
    lacks,
    list,
  );

  async function load(signal) {
    try {
      for (let hasMore = true; hasMore;) {
        const told = await get(`/jobs/${encodeURIComponent(jobId)}/frames?limit=${MOST}&after=${after}`, signal);
        take(told);
        ({ hasMore } = told);
      }
    } catch (error) {
      if (error.name !== "AbortError" && !known.size) setText(note, error.message);
    }
  }

  function take(told) {
    after = told.next;
    if (!told.goesOn) known.clear();
    for (const frame of told.frames) known.set(keyOf(frame), frame);
    if (told.lacks.length) {
      lacks.hidden = false;
      lacks.replaceChildren(
        h("p", {}, "What shows frames is not installed where the server runs:"),
        ...told.lacks.map((line) => h("pre", {}, line)),
      );
    }
    if (told.frames.length || !told.goesOn) arrangeAll();
  }

  function arrangeAll() {
    const anchor = firstInSight(); // before there are others
    const ordered = [...known.values()].sort((one, other) => one.frame - other.frame || one.chunkId - other.chunkId);
    const odd = ordered.filter((frame) => frame.state !== "finished");
    flagged = odd.length;
    if (!flagged) onlyFlagged = false;
    shown = onlyFlagged ? odd : ordered;
    places = new Map(shown.map((frame, place) => [keyOf(frame), place]));
    tools.hidden = !known.size;
    setText(all, `All ${known.size.toLocaleString("en")}`);
    setText(flags, `Flagged ${flagged.toLocaleString("en")}`);
    flags.disabled = !flagged;
    compare.disabled = shown.length < 2;
    all.setAttribute("aria-pressed", String(!onlyFlagged));
    flags.setAttribute("aria-pressed", String(onlyFlagged));
    describe();
    if (!places.has(active)) active = shown.length ? keyOf(shown[0]) : "";
    measure();
    // What is looked at stays where it is, though frames have come before it.
    if (anchor && places.has(anchor.key)) scrollBy(0, topOf(places.get(anchor.key)) - anchor.top);
    draw();
  }

  function describe() {
    if (picked)
      setText(note, picked.length ? `${titleOf(picked[0])}: choose the other one` : "Choose the first of two frames");
    else if (!known.size) setText(note, "No frame is rendered yet.");
    note.hidden = !picked && known.size > 0;
    compare.setAttribute("aria-pressed", String(picked !== null));
  }

  function filter(flaggedAlone) {
    onlyFlagged = flaggedAlone;
    arrangeAll();
  }

  function pick(frames) {
    picked = frames;
    describe();
    draw();
  }

  /** Work out how large a tile is, and how many are side by side. */
  function measure() {
    const width = list.clientWidth;
    if (!width) return;
    const least = width < 560 ? 100 : 176;
    const columns = Math.max(1, Math.floor((width + GAP) / (least + GAP)));
    const across = (width - GAP * (columns - 1)) / columns;
    const picture = Math.round(across / ratio);
    layout = { columns, across, down: picture + CAPTION + GAP };
    list.style.height = `${Math.ceil(shown.length / columns) * layout.down}px`;
    list.style.setProperty("--picture", `${picture}px`);
    list.style.setProperty("--across", `${across}px`);
  }

  const topOf = (place) => Math.floor(place / layout.columns) * layout.down;

  function firstInSight() {
    const above = -list.getBoundingClientRect().top;
    if (above <= 0 || !shown.length || !layout) return null;
    const frame = shown[Math.min(Math.floor(above / layout.down) * layout.columns, shown.length - 1)];
    return { key: keyOf(frame), top: topOf(places.get(keyOf(frame))) };
  }

  function draw() {
    if (!layout) return;
    const above = -list.getBoundingClientRect().top;
    const first = Math.max(0, Math.floor((above - AROUND) / layout.down)) * layout.columns;
    const last = Math.max(0, Math.ceil((above + innerHeight + AROUND) / layout.down)) * layout.columns;
    const keys = new Set(shown.slice(first, last).map(keyOf));
    // What has the focus keeps it.
    if (active) keys.add(active);
    for (const [key, tile] of tiles) if (!keys.has(key)) tile.close();
    arrange(
      list,
      tiles,
      [...keys].sort((one, other) => places.get(one) - places.get(other)),
      createTile,
    );
    for (const [key, tile] of tiles) tile.update(known.get(key), places.get(key));
    clearTimeout(atRest);
    atRest = setTimeout(() => {
      for (const tile of tiles.values()) tile.load();
    }, AT_REST);
  }

  function createTile(key) {
    const picture = createPicture();
    const number = h("span", { class: "number", "aria-hidden": "true" });
    const of = h("span", { class: "of" }); // what is wrong with it, or else the chunk
    const button = h(
      "button",
      {
        on: {
          click: () => choose(known.get(key)),
          focus: () => {
            active = key;
            draw();
          },
        },
      },
      picture.element,
      h("span", { class: "caption" }, number, of),
    );
    const tile = h("div", { role: "listitem", class: "tile" }, button);
    picture.image.addEventListener("load", () => learn(picture.image));
    return {
      element: tile,
      update(frame, place) {
        const column = place % layout.columns;
        tile.style.transform = `translate(${column * (layout.across + GAP)}px, ${topOf(place)}px)`;
        tile.className = `tile ${frame.state}${picked?.includes(frame) ? " picked" : ""}`;
        tile.setAttribute("aria-posinset", place + 1);
        tile.setAttribute("aria-setsize", shown.length);
        button.tabIndex = key === active ? 0 : -1;
        setText(number, frame.span ?? frame.frame);
        setText(of, flawOf(frame) || `chunk ${frame.chunkId}`);
        button.title = [`chunk ${frame.chunkId}`, frame.file, flawOf(frame)].filter(Boolean).join("\n");
      },
      load: () => picture.show(addressOf(jobId, known.get(key), "thumb"), titleOf(known.get(key))),
      retry: picture.retry,
      close: picture.close,
      focus: () => button.focus({ preventScroll: true }),
    };
  }

  /** All are taken to be as wide as the first one that has come. */
  function learn({ naturalWidth, naturalHeight }) {
    const found = Math.min(2.6, Math.max(0.6, naturalWidth / naturalHeight));
    if (isRatioKnown || !found) return;
    isRatioKnown = true;
    ratio = found;
    measure();
    draw();
  }

  function choose(frame) {
    if (!picked) {
      openViewer({
        jobId,
        frame,
        onChunk,
        beside,
        onCompare: (first) => {
          goTo(first);
          pick([first]);
        },
        onClose: goTo,
      });
      return;
    }
    if (picked[0] === frame) picked = [];
    else picked.push(frame);
    if (picked.length === 2) {
      const frames = picked;
      pick(null);
      openComparison({ jobId, frames, onClose: () => goTo(frames[1]) });
    } else {
      pick(picked);
    }
  }

  function beside(frame, by) {
    const place = places.get(keyOf(frame));
    if (place === undefined) return null;
    const next = Math.min(shown.length - 1, Math.max(0, place + by));
    return next === place ? null : shown[next];
  }

  /** Have the keyboard at a frame, and that in sight. */
  function goTo(frame) {
    const key = keyOf(frame);
    // Who looks at one large may have gone elsewhere from there.
    if (!places.has(key) || control.signal.aborted) return;
    active = key;
    const top = list.getBoundingClientRect().top + topOf(places.get(key));
    const bar = document.querySelector(".bar")?.offsetHeight ?? 0;
    if (top < bar + GAP) scrollBy(0, top - bar - GAP);
    else if (top + layout.down > innerHeight) scrollBy(0, top + layout.down - innerHeight);
    draw();
    tiles.get(key).focus();
  }

  function onKey(event) {
    if (event.key === "Escape" && picked) {
      pick(null);
      return;
    }
    const by = KEYS[event.key]?.(
      layout.columns,
      layout.columns * Math.max(1, Math.floor(innerHeight / layout.down) - 1),
    );
    if (by === undefined || event.ctrlKey || event.metaKey || event.altKey || !places.has(active)) return;
    event.preventDefault();
    const next = beside(shown[places.get(active)], by);
    if (next) goTo(next);
  }

  function onScroll() {
    painting ||= requestAnimationFrame(() => {
      painting = 0;
      draw();
    });
  }

  const sizes = new ResizeObserver(() => {
    measure();
    draw();
  });
  sizes.observe(element);
  addEventListener("scroll", onScroll, { passive: true, signal: control.signal });
  addEventListener("resize", onScroll, { signal: control.signal });
  asking.again();

  return {
    element,
    messages(messages) {
      if (messages.some(({ connected }) => connected)) for (const tile of tiles.values()) tile.retry();
      if (messages.some(({ change, event, gap, connected }) => gap || connected || change || TELLS.has(event?.event))) {
        asking.again();
        // What is told may not be on the disk yet, where it is looked up.
        clearTimeout(later);
        later = setTimeout(asking.again, 3 * PAUSE);
      }
    },
    close() {
      control.abort();
      sizes.disconnect();
      asking.close();
      clearTimeout(later);
      clearTimeout(atRest);
      cancelAnimationFrame(painting);
      for (const tile of tiles.values()) tile.close();
    },
  };
}

const keyOf = (frame) => `${frame.chunkId}:${frame.frame}`;
