import { h } from "./dom.js";
export function createTimes() { return { element: h("section"), close() {} }; }
