import { h } from "./dom.js";
export function createLog() { return { element: h("div"), close() {} }; }
