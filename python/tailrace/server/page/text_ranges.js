// Ranges of an element's text by the places of its characters, whatever elements they are in.

/**
 * @param {Element} element
 * @returns {{node: Text, start: number}[]} its texts, and where in its whole text they begin
 */
export function textsOf(element) {
  const walker = document.createTreeWalker(element, NodeFilter.SHOW_TEXT);
  const texts = [];
  let start = 0;
  while (walker.nextNode()) {
    texts.push({ node: walker.currentNode, start });
    start += walker.currentNode.length;
  }
  return texts;
}

/**
 * @param {{node: Text, start: number}[]} texts @param {number} index @param {number} length
 * @returns {?Range} so many characters from there on; null if there are none
 */
export function rangeOf(texts, index, length) {
  const range = document.createRange();
  const first = textAt(texts, index);
  const last = textAt(texts, index + length - 1);
  if (!first || !last) return null;
  range.setStart(first.node, index - first.start);
  range.setEnd(last.node, Math.min(last.node.length, index + length - last.start));
  return range;
}

function textAt(texts, index) {
  let low = 0;
  let high = texts.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (texts[middle].start <= index) low = middle + 1;
    else high = middle;
  }
  return texts[low - 1];
}
