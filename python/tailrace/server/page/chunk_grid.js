// All chunks of a job, coloured by their states: a hundred thousand of them have no elements, they are drawn.

import { get } from "./api.js";
import { createAsking } from "./asking.js";
import { h, setText } from "./dom.js";

export const STATES = { p: "pending", r: "running", c: "completed", f: "failed", x: "cancelled", s: "skipped" };
const LETTERS = Object.fromEntries(Object.entries(STATES).map(([letter, state]) => [state, letter]));
const COLOURS = {
  p: "--pending",
  r: "--unfinished",
  c: "--completed",
  f: "--failed",
  x: "--cancelled",
  s: "--cancelled",
};
const CELLS = [36, 26, 18, 12, 8, 6]; // pixels from one to the next
const LABELLED = 26;
const PAUSE = 1000; // ms between questions for all of them
const ALL_CHANGE = ["pending", "failed", "cancelled", "completed"]; // where a job gets there, its chunks do untold

/**
 * @param {{jobId: string, onSelect: (chunkId: number) => void}} options
 * @returns {{element: HTMLElement, messages: (list: object[]) => void, close: () => void, select: (chunkId: number?) => void}}
 */
export function createChunkGrid({ jobId, onSelect }) {
  let states = []; // letters
  let runs = []; // [first id, last id, index of the first]
  let byId = []; // the same; ids need not rise
  let lastEvent = 0;
  let early = null; // messages that came while all are asked for
  const asking = createAsking(load, PAUSE);
  let counts = {};
  const fractions = new Map(); // of those that run, by index
  let selected = -1;
  let wanted = null; // the id of the selected chunk, which may be asked for before the chunks are known
  let active = 0; // where the arrow keys are
  let told = -1; // what the line below says the state of
  let layout = { cell: 6, columns: 1, gap: 1 };
  let colours = {};
  let frame = 0;

  const canvas = h("canvas", { "aria-hidden": "true" });
  const paper = canvas.getContext("2d");
  const sizer = h("div", {}, canvas);
  const option = h(
    "div",
    { class: "hidden", role: "option", id: "active-chunk", "aria-selected": "false" },
    "No chunk",
  );
  const scroller = h(
    "div",
    {
      class: "grid-scroller",
      tabindex: 0,
      role: "listbox",
      "aria-label": "Chunks",
      "aria-activedescendant": "active-chunk",
      on: { scroll: draw, keydown: onKey, click: onClick, mousemove: onMove, mouseleave: () => tell(-1) },
    },
    option,
    sizer,
  );
  const legend = h("div", {
    class: "legend",
    role: "group",
    "aria-label": "States: each goes to the next chunk in it",
  });
  const buttons = Object.entries(STATES).map(([letter, state]) => {
    const button = h("button", { class: state, hidden: true, on: { click: () => goToNext(letter) } });
    legend.append(button);
    return [letter, button];
  });
  const tip = h("div", { class: "grid-tip" });
  const element = h("div", {}, legend, scroller, tip);

  async function load(signal) {
    early = [];
    try {
      const grid = await get(`/jobs/${jobId}/grid`, signal);
      states = [...grid.states];
      let index = 0;
      runs = grid.ids.map(([first, last]) => {
        const run = [first, last, index];
        index += last - first + 1;
        return run;
      });
      byId = runs.toSorted((one, other) => one[0] - other[0]);
      lastEvent = grid.lastEvent;
      fractions.clear();
      recount();
      measure();
      select(wanted);
      retell();
    } catch (error) {
      setText(tip, error.message);
      if (error.status === 0) asking.again();
    }
    const waiting = early;
    early = null;
    messages(waiting);
  }

  function messages(list) {
    if (early) {
      early.push(...list);
      return;
    }
    let hasChanged = false;
    for (const message of list) {
      if (message.gap || (message.connected && states.length === 0)) asking.again();
      else if (message.change && message.id > lastEvent) hasChanged = apply(message.change) || hasChanged;
      else if (message.event?.event === "chunk_progress" && message.event.fraction !== null) {
        const index = indexOf(message.event.chunk_id);
        if (states[index] === "r") {
          fractions.set(index, message.event.fraction);
          hasChanged = layout.cell >= LABELLED || hasChanged;
        }
      }
    }
    if (hasChanged) {
      drawLegend();
      retell();
      draw();
    }
  }

  function apply({ chunkId, state }) {
    if (chunkId === null) {
      if (ALL_CHANGE.includes(state)) asking.again();
      return false;
    }
    const index = indexOf(chunkId);
    const letter = LETTERS[state];
    if (index < 0 || !letter || states[index] === letter) return false;
    counts[states[index]] -= 1;
    counts[letter] = (counts[letter] ?? 0) + 1;
    states[index] = letter;
    fractions.delete(index);
    return true;
  }

  function recount() {
    counts = {};
    for (const letter of states) counts[letter] = (counts[letter] ?? 0) + 1;
    drawLegend();
  }

  function drawLegend() {
    for (const [letter, button] of buttons) {
      const count = counts[letter] ?? 0;
      button.hidden = count === 0;
      setText(button, `${count.toLocaleString("en")} ${STATES[letter]}`);
    }
  }

  function indexOf(chunkId) {
    let [low, high] = [0, byId.length - 1];
    while (low <= high) {
      const middle = (low + high) >> 1;
      const [first, last, index] = byId[middle];
      if (chunkId < first) high = middle - 1;
      else if (chunkId > last) low = middle + 1;
      else return index + chunkId - first;
    }
    return -1;
  }

  function idAt(index) {
    let [low, high] = [0, runs.length - 1];
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (runs[middle][2] <= index) low = middle;
      else high = middle - 1;
    }
    return runs[low][0] + index - runs[low][2];
  }

  function measure() {
    const width = scroller.clientWidth;
    if (!width || !states.length) return;
    const style = getComputedStyle(document.documentElement);
    colours = Object.fromEntries(
      Object.entries(COLOURS).map(([letter, name]) => [letter, style.getPropertyValue(name).trim()]),
    );
    colours.text = style.getPropertyValue("--text").trim();
    const rowsOf = (cell) => Math.ceil(states.length / Math.max(1, Math.floor(width / cell)));
    const cell = CELLS.find((size) => rowsOf(size) * size <= innerHeight * 0.45) ?? CELLS.at(-1);
    layout = { cell, columns: Math.max(1, Math.floor(width / cell)), gap: cell >= 12 ? 2 : 1 };
    sizer.style.height = `${rowsOf(cell) * cell}px`;
    const [ratio, height] = [devicePixelRatio, scroller.clientHeight];
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
    canvas.style.width = `${width}px`;
    canvas.style.height = `${height}px`;
    paper.setTransform(ratio, 0, 0, ratio, 0, 0);
    if (selected >= 0) goTo(selected);
    draw();
  }

  function draw() {
    if (!frame) frame = requestAnimationFrame(paint);
  }

  function paint() {
    frame = 0;
    const { cell, columns, gap } = layout;
    const [top, height, side] = [scroller.scrollTop, scroller.clientHeight, cell - gap];
    paper.clearRect(0, 0, scroller.clientWidth, height);
    const first = Math.floor(top / cell) * columns;
    const last = Math.min(states.length, (Math.floor((top + height) / cell) + 1) * columns);
    const place = (index) => [(index % columns) * cell, Math.floor(index / columns) * cell - top];
    // All of one colour at a time: setting it costs more than a rectangle does.
    for (const letter of Object.keys(STATES)) {
      paper.fillStyle = colours[letter === "r" && side >= LABELLED - 2 ? "p" : letter];
      for (let index = first; index < last; index += 1) {
        if (states[index] === letter) paper.fillRect(...place(index), side, side);
      }
    }
    if (cell >= LABELLED) paintDetails(first, last, place, side);
    if (selected >= 0) paintFrame(selected, place, side, 2);
    if (document.activeElement === scroller) paintFrame(active, place, side, 1);
  }

  function paintDetails(first, last, place, side) {
    paper.font = "600 10.5px system-ui, sans-serif";
    paper.textAlign = "center";
    paper.textBaseline = "middle";
    for (let index = first; index < last; index += 1) {
      const [x, y] = place(index);
      const isRunning = states[index] === "r";
      if (isRunning) {
        paper.fillStyle = colours.r;
        const full = Math.max(3, side * (fractions.get(index) ?? 0));
        paper.fillRect(x, y + side - full, side, full);
        paper.strokeStyle = colours.r;
        paper.strokeRect(x + 1, y + 1, side - 2, side - 2);
      }
      paper.fillStyle = isRunning || states[index] === "p" ? colours.text : "#fff";
      const label = String(idAt(index));
      if (label.length <= 5) paper.fillText(label, x + side / 2, y + side / 2 + 0.5, side - 2);
    }
  }

  function paintFrame(index, place, side, width) {
    const [x, y] = place(index);
    paper.strokeStyle = colours.text;
    paper.lineWidth = width;
    paper.strokeRect(x + width / 2, y + width / 2, side - width, side - width);
    paper.lineWidth = 1;
  }

  function indexAt(event) {
    const box = canvas.getBoundingClientRect();
    const column = Math.floor((event.clientX - box.left) / layout.cell);
    const row = Math.floor((event.clientY - box.top + scroller.scrollTop) / layout.cell);
    const index = row * layout.columns + column;
    return column >= 0 && column < layout.columns && index < states.length ? index : -1;
  }

  const describe = (index) => `Chunk ${idAt(index)}, ${STATES[states[index]]}`;

  function tell(index) {
    told = index;
    retell();
  }

  function retell() {
    setText(tip, told < 0 ? "" : describe(told));
    if (states.length) setText(option, describe(active));
  }

  function onMove(event) {
    const index = indexAt(event);
    scroller.style.cursor = index < 0 ? "" : "pointer";
    tell(index);
  }

  function onClick(event) {
    const index = indexAt(event);
    if (index >= 0) choose(index);
  }

  function choose(index) {
    select(idAt(index));
    onSelect(wanted);
  }

  function select(chunkId) {
    wanted = chunkId;
    selected = chunkId === null ? -1 : indexOf(chunkId);
    if (selected >= 0) goTo(selected);
    draw();
  }

  function goTo(index) {
    active = Math.max(0, Math.min(states.length - 1, index));
    const top = Math.floor(active / layout.columns) * layout.cell;
    if (top < scroller.scrollTop) scroller.scrollTop = top;
    else if (top + layout.cell > scroller.scrollTop + scroller.clientHeight) {
      scroller.scrollTop = top + layout.cell - scroller.clientHeight;
    }
    option.setAttribute("aria-selected", String(active === selected));
    tell(active);
    draw();
  }

  function goToNext(letter) {
    const start = states[active] === letter && selected === active ? active + 1 : active;
    let index = states.indexOf(letter, start);
    if (index < 0) index = states.indexOf(letter);
    if (index >= 0) choose(index);
  }

  function onKey(event) {
    if (!states.length || event.ctrlKey || event.metaKey || event.altKey) return;
    const page = layout.columns * Math.max(1, Math.floor(scroller.clientHeight / layout.cell) - 1);
    const steps = {
      ArrowLeft: -1,
      ArrowRight: 1,
      ArrowUp: -layout.columns,
      ArrowDown: layout.columns,
      PageUp: -page,
      PageDown: page,
      Home: -states.length,
      End: states.length,
    };
    if (event.key in steps) goTo(active + steps[event.key]);
    else if (event.key === "Enter" || event.key === " ") choose(active);
    else return;
    event.preventDefault();
  }

  const observer = new ResizeObserver(measure);
  observer.observe(element);
  const scheme = matchMedia("(prefers-color-scheme: dark)");
  scheme.addEventListener("change", measure);
  for (const name of ["focus", "blur"]) scroller.addEventListener(name, draw);
  asking.again();
  return {
    element,
    messages,
    select,
    close() {
      asking.close();
      cancelAnimationFrame(frame);
      observer.disconnect();
      scheme.removeEventListener("change", measure);
    },
  };
}
