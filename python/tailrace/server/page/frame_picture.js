// One picture of a frame, or why there is none.

import { h, setText } from "./dom.js";
import { request } from "./api.js";

/**
 * @typedef {{frame: number, chunkId: number, span: string?, file: string, state: "finished"|"odd"|"damaged",
 *   reasons: string[], version: number}} Frame
 */

/** @param {string} jobId @param {Frame} frame @param {"thumb"|"full"} size @returns {string} below /api/v1 */
export function addressOf(jobId, frame, size) {
  const job = encodeURIComponent(jobId);
  return `/jobs/${job}/frames/${frame.frame}/image?chunk=${frame.chunkId}&size=${size}&version=${frame.version}`;
}

/** @param {Frame} frame @returns {string} what to call it */
export function titleOf(frame) {
  return frame.span === null ? `Frame ${frame.frame}` : `Frames ${frame.span}`;
}

/** @param {Frame} frame @returns {string} what is wrong with it; "" if nothing is */
export function flawOf(frame) {
  return frame.state === "finished" ? "" : `${frame.state}: ${frame.reasons.join("; ")}`;
}

/**
 * @returns {{element: HTMLElement, image: HTMLImageElement, show: (address: string, alt: string) => void, retry: () => void,
 *   close: () => void}} `show` has a picture loaded, `retry` once more one that could not be had
 */
export function createPicture() {
  const image = h("img", { alt: "", draggable: "false", decoding: "async" });
  const why = h("span", { class: "why", hidden: true });
  const element = h("span", { class: "picture" }, image, why);
  let address = "";

  async function fail() {
    const failed = address;
    if (!failed) return;
    let reason = "this browser cannot show it";
    try {
      await request(failed);
    } catch (error) {
      reason = error.message;
    }
    if (address !== failed) return;
    image.hidden = true;
    why.hidden = false;
    setText(why, reason);
  }

  function load() {
    image.hidden = false;
    why.hidden = true;
    image.src = `/api/v1${address}`;
  }

  image.addEventListener("error", fail);
  return {
    element,
    image,
    show(wanted, alt) {
      image.alt = alt;
      if (wanted === address) return;
      address = wanted;
      load();
    },
    retry: () => {
      if (!why.hidden) load();
    },
    close() {
      address = "";
      // The browser would go on loading it.
      image.removeAttribute("src");
    },
  };
}
