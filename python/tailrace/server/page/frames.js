import { h } from "./dom.js";
export function createFrames() { return { element: h("section"), close() {} }; }
