// HTML that the server made. Text in it may be anybody's, and has been escaped there; that it is so is not relied upon.

const ELEMENTS = new Set(
  (
    "article circle code dd div dl dt figcaption figure h2 h3 li line mark p pre rect section small " +
    "span svg text title ul"
  ).split(" "),
);
const ATTRIBUTES = new Set(
  (
    "aria-hidden aria-label aria-labelledby class cx cy data-chunk dx height id r role rx " +
    "text-anchor width x x1 x2 y y1 y2"
  ).split(" "),
);

/**
 * Return what the HTML says, without what no report has: scripts, styles, links, pictures, listeners.
 * @param {string} html
 * @returns {HTMLElement} with all of it in it
 */
export function readMarkup(html) {
  const { body } = new DOMParser().parseFromString(html, "text/html");
  for (const element of body.querySelectorAll("*")) {
    if (!ELEMENTS.has(element.localName)) element.remove();
    for (const name of element.getAttributeNames()) {
      if (!ATTRIBUTES.has(name)) element.removeAttribute(name);
    }
  }
  return body;
}

/**
 * Have an element have the children of another one. What is of the same chunk, or else in the same place, stays and is
 * changed: with the focus, the pointer's hint, and what is selected in it.
 * @param {Element} old
 * @param {Element} wanted whose children may be taken
 */
export function takeChildren(old, wanted) {
  const before = byKey(old);
  for (const [key, nodes] of byKey(wanted)) {
    const there = before.get(key) ?? [];
    nodes.forEach((node, place) => take(old, there[place], node));
    before.set(key, there.slice(nodes.length));
  }
  for (const left of before.values()) left.forEach((node) => node.remove());
}

/** Return the children by what they are of: shapes by their chunk, all others together. */
function byKey(parent) {
  const nodes = new Map();
  for (const node of parent.childNodes) {
    const key = node.dataset?.chunk === undefined ? "" : `${node.nodeName} ${node.dataset.chunk}`;
    if (!nodes.has(key)) nodes.set(key, []);
    nodes.get(key).push(node);
  }
  return nodes;
}

function take(parent, old, wanted) {
  if (!old) {
    parent.append(wanted);
  } else if (old.nodeName !== wanted.nodeName || old.id !== wanted.id) {
    old.replaceWith(wanted);
  } else if (old.nodeType !== Node.ELEMENT_NODE) {
    if (old.data !== wanted.data) old.data = wanted.data;
  } else {
    takeAttributes(old, wanted);
    takeChildren(old, wanted);
  }
}

function takeAttributes(old, wanted) {
  for (const name of old.getAttributeNames()) {
    if (!wanted.hasAttribute(name)) old.removeAttribute(name);
  }
  for (const { name, value } of wanted.attributes) {
    if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  }
}
