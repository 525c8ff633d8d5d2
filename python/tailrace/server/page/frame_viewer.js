// A frame as large as the window, and two of them compared.

import { h, setText } from "./dom.js";
import { addressOf, createPicture, flawOf, titleOf } from "./frame_picture.js";
import { makeZoomable } from "./zoom.js";

const WAYS = { side: "Side by side", slide: "Slider", flip: "Flip" };

/**
 * Show a frame; arrows go on to those beside it, Escape closes.
 * @param {{jobId: string, frame: Frame, beside: (frame: Frame, by: number) => Frame?, onChunk: (chunkId: number) => void,
 *   onCompare: (frame: Frame) => void, onClose: (frame: Frame) => void}} options `beside` returns the frame so many
 *   places further, the last one where there are not so many, and null if that is the same one
 */
export function openViewer({ jobId, frame, beside, onChunk, onCompare, onClose }) {
  // What is known already is seen until the large one has come.
  const small = createPicture();
  const large = createPicture();
  small.element.setAttribute("aria-hidden", "true");
  const layers = h("div", { class: "layers" }, small.element, large.element);
  const stage = h("div", { class: "stage" }, layers);
  const zoom = makeZoomable(stage, layers);
  const name = h("h2", { "aria-live": "polite" });
  const about = h("p");
  const flaw = h("p", { class: "flaw" });
  const back = h("button", { "aria-label": "Previous frame", on: { click: () => go(-1) } }, "‹");
  const on = h("button", { "aria-label": "Next frame", on: { click: () => go(1) } }, "›");
  const toChunk = h("button", { on: { click: () => leave(() => onChunk(frame.chunkId)) } }, "Chunk");
  const compare = h("button", { on: { click: () => leave(() => onCompare(frame)) } }, "Compare");
  const dialog = createDialog("Frame", stage, [name, about, flaw], [back, on, toChunk, compare]);
  let then = () => onClose(frame);

  function leave(next) {
    then = next;
    dialog.close();
  }

  function show(next) {
    frame = next;
    zoom.reset();
    small.show(addressOf(jobId, frame, "thumb"), "");
    large.show(addressOf(jobId, frame, "full"), titleOf(frame));
    large.element.classList.add("loading");
    dialog.setAttribute("aria-label", titleOf(frame));
    setText(name, titleOf(frame));
    setText(about, `chunk ${frame.chunkId} · ${frame.file}`);
    setText(flaw, flawOf(frame));
    flaw.className = `flaw ${frame.state}`;
    for (const [button, by] of [
      [back, -1],
      [on, 1],
    ]) {
      const isLast = !beside(frame, by);
      // A button that is disabled loses the focus, and the keys with it.
      if (isLast && document.activeElement === button) dialog.focus();
      button.disabled = isLast;
    }
  }

  function go(by) {
    const next = beside(frame, by);
    if (next) show(next);
  }

  for (const done of ["load", "error"]) {
    large.image.addEventListener(done, () => large.element.classList.remove("loading"));
  }
  dialog.addEventListener("keydown", (event) => {
    const by = { ArrowLeft: -1, ArrowRight: 1, Home: -Infinity, End: Infinity }[event.key];
    if (by !== undefined) go(by);
    else if (!zoom.key(event)) return;
    event.preventDefault();
  });
  dialog.addEventListener("close", () => {
    small.close();
    large.close();
    then();
  });
  show(frame);
  dialog.showModal();
  dialog.focus();
}

/**
 * Show two frames: side by side, one over the other with a slider between, or in turns.
 * @param {{jobId: string, frames: [Frame, Frame], onClose: () => void}} options
 */
export function openComparison({ jobId, frames, onClose }) {
  const pictures = frames.map((frame) => {
    const picture = createPicture();
    picture.show(addressOf(jobId, frame, "full"), titleOf(frame));
    return picture;
  });
  const layers = h(
    "div",
    { class: "layers" },
    pictures.map(({ element }) => element),
  );
  const stage = h("div", { class: "stage" }, layers);
  const zoom = makeZoomable(stage, layers);
  const name = h("h2", { "aria-live": "polite" });
  const slider = h("input", {
    type: "range",
    min: 0,
    max: 100,
    step: 0.5,
    value: 50,
    "aria-label": "How much of the first frame is seen",
    on: { input: draw },
  });
  const flip = h("button", { on: { click: turn } }, "Flip (space)");
  const buttons = Object.entries(WAYS).map(([key, label]) => [
    key,
    h("button", { on: { click: () => choose(key) } }, label),
  ]);
  const ways = h(
    "div",
    { class: "ways", role: "group", "aria-label": "How to compare" },
    buttons.map(([, button]) => button),
  );
  const dialog = createDialog("Comparison", stage, [name], [ways, slider, flip]);
  let way = "side";
  let isSecond = false;

  function draw() {
    stage.className = `stage ${way}${stage.classList.contains("zoomed") ? " zoomed" : ""}`;
    slider.hidden = way !== "slide";
    flip.hidden = way !== "flip";
    const [first, second] = pictures.map(({ element }) => element);
    // Of the two that lie over each other, the second one lies above.
    second.style.clipPath = way === "slide" ? `inset(0 0 0 ${slider.value}%)` : "";
    first.style.visibility = way === "flip" && isSecond ? "hidden" : "";
    second.style.visibility = way === "flip" && !isSecond ? "hidden" : "";
    layers.style.setProperty("--seam", `${slider.value}%`);
    const [one, two] = frames.map(titleOf);
    setText(name, way === "flip" ? (isSecond ? two : one) : `${one} and ${two}`);
    for (const [key, button] of buttons) button.setAttribute("aria-pressed", String(key === way));
  }

  function choose(next) {
    way = next;
    zoom.reset();
    draw();
    if (way === "slide") slider.focus();
  }

  function turn() {
    isSecond = !isSecond;
    draw();
  }

  for (const kind of ["pointerdown", "pointermove"]) {
    stage.addEventListener(kind, (event) => {
      if (way !== "slide" || event.buttons !== 1 || stage.classList.contains("zoomed")) return;
      slider.value = (100 * event.clientX) / stage.clientWidth;
      draw();
    });
  }
  dialog.addEventListener("keydown", (event) => {
    if (event.key === " " && way === "flip") turn();
    else if (!zoom.key(event)) return;
    event.preventDefault();
  });
  dialog.addEventListener("close", () => {
    for (const picture of pictures) picture.close();
    onClose();
  });
  draw();
  dialog.showModal();
  dialog.focus();
}

function createDialog(label, stage, texts, tools) {
  const dialog = h("dialog", { class: "viewer", "aria-label": label, tabindex: -1 });
  const close = h("button", { "aria-label": "Close", on: { click: () => dialog.close() } }, "✕");
  dialog.append(
    stage,
    h("div", { class: "below" }, h("div", { class: "texts" }, texts), h("div", { class: "tools" }, tools, close)),
  );
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  return dialog;
}
