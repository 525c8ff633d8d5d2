// What a terminal would be sent, as text: colours are kept, all else that escape sequences can do is not.
// Sequences: ECMA-48, 5.4 and 8.3.117; https://invisible-island.net/xterm/ctlseqs/ctlseqs.html

/**
 * How text looks.
 * @typedef {{fg?: number[], bg?: number[], bold?: boolean, dim?: boolean, italic?: boolean, underline?: boolean,
 *   strike?: boolean, inverse?: boolean}} Pen
 */

/** @type {Pen} */
export const PLAIN = Object.freeze({});

// A string for the terminal (title, link) ends with its line at the latest: one that is never ended hides nothing more.
// What is no sequence, and what would turn the direction of a line, is shown by a sign for it.
const SPECIAL = new RegExp(
  [
    "\\x1b\\[([\\x30-\\x3f]*)([\\x20-\\x2f]*)([\\x40-\\x7e])",
    "\\x1b[\\]PX^_][^\\x07\\x1b\\x9c\\n]*(?:\\x07|\\x1b\\\\|\\x9c)?",
    "\\x1b[\\x20-\\x2f]*[\\x30-\\x7e]",
    "[\\x00-\\x08\\x0b-\\x1f\\x7f-\\x9f\\u061c\\u200e\\u200f\\u202a-\\u202e\\u2066-\\u2069]",
  ].join("|"),
  "g",
);

const COLORS = [
  [0, 0, 0],
  [205, 49, 49],
  [13, 150, 90],
  [180, 140, 10],
  [36, 114, 200],
  [170, 60, 170],
  [17, 150, 180],
  [229, 229, 229],
  [102, 102, 102],
  [241, 76, 76],
  [35, 209, 139],
  [245, 220, 67],
  [59, 142, 234],
  [214, 112, 214],
  [41, 184, 219],
  [255, 255, 255],
];
const BLACK = COLORS[0];
const WHITE = COLORS[15];
const FLAGS = { 1: "bold", 2: "dim", 3: "italic", 4: "underline", 7: "inverse", 9: "strike" };
const ENDS = {
  22: ["bold", "dim"],
  23: ["italic"],
  24: ["underline"],
  27: ["inverse"],
  29: ["strike"],
  39: ["fg"],
  49: ["bg"],
};
const GROUNDS = { 30: ["fg", 0], 40: ["bg", 0], 90: ["fg", 8], 100: ["bg", 8] };
const LEAST_CONTRAST = 4.5;

/**
 * Return text as nodes, and how text looks behind it. A carriage return begins a new line: nothing is overwritten.
 * @param {string} text
 * @param {Pen} pen how it begins
 * @returns {{nodes: DocumentFragment, pen: Pen}}
 */
export function render(text, pen) {
  const nodes = document.createDocumentFragment();
  let run = "";
  const flush = () => {
    if (run) nodes.append(pen === PLAIN ? run : styled(run, pen));
    run = "";
  };
  const lines = text.replace(/\r+\n?/g, "\n");
  let end = 0;
  for (const match of lines.matchAll(SPECIAL)) {
    run += lines.slice(end, match.index);
    end = match.index + match[0].length;
    if (match[3] === "m" && !match[2] && !/[<=>?]/.test(match[1])) {
      flush();
      pen = select(pen, match[1]);
    } else if (match[0].length === 1) {
      run += sign(match[0].charCodeAt(0));
    }
  }
  run += lines.slice(end);
  flush();
  return { nodes, pen };
}

/** @param {Pen} one @param {Pen} other @returns {boolean} whether text looks alike with both */
export function isSame(one, other) {
  return one === other || JSON.stringify(one) === JSON.stringify(other);
}

function sign(code) {
  if (code < 0x20) return String.fromCharCode(0x2400 + code);
  if (code === 0x7f) return "\u2421";
  return `<U+${code.toString(16).toUpperCase().padStart(4, "0")}>`;
}

function select(pen, parameters) {
  const next = { ...pen };
  const codes = parameters.split(";");
  for (let at = 0; at < codes.length; at++) {
    // With colons a code and what belongs to it are one parameter (ITU-T T.416).
    const [code, ...more] = codes[at].split(":").map(Number);
    if (code === 38 || code === 48) {
      const given = more.length ? more : codes.slice(at + 1, at + 5).map(Number);
      if (!more.length) at += given[0] === 2 ? 4 : 2;
      const color = given[0] === 5 ? indexed(given[1]) : given.slice(more.length > 4 ? 2 : 1).slice(0, 3);
      if (color?.length === 3 && color.every((part) => part >= 0 && part < 256))
        next[code === 38 ? "fg" : "bg"] = color;
    } else if (code === 0) {
      for (const name of Object.keys(next)) delete next[name];
    } else if (code === 4 && more[0] === 0) {
      delete next.underline;
    } else if (FLAGS[code]) {
      next[FLAGS[code]] = true;
    } else if (ENDS[code]) {
      for (const name of ENDS[code]) delete next[name];
    } else {
      const [name, first] = GROUNDS[code - (code % 10)] ?? [];
      if (name && code % 10 < 8) next[name] = COLORS[first + (code % 10)];
    }
  }
  return Object.keys(next).length ? next : PLAIN;
}

function indexed(number) {
  if (!(number >= 0 && number < 256)) return null;
  if (number < 16) return COLORS[number];
  if (number >= 232) return Array(3).fill(8 + 10 * (number - 232));
  const level = (part) => (part ? 55 + 40 * part : 0);
  const cube = number - 16;
  return [level(Math.floor(cube / 36)), level(Math.floor(cube / 6) % 6), level(cube % 6)];
}

function styled(text, pen) {
  const span = document.createElement("span");
  span.textContent = text;
  for (const name of ["bold", "dim", "italic", "underline", "strike"]) if (pen[name]) span.classList.add(name);
  const [color, ground] = pen.inverse ? [pen.bg, pen.fg] : [pen.fg, pen.bg];
  if (ground) {
    span.style.backgroundColor = css(ground);
    span.style.color = css(color && contrast(color, ground) >= LEAST_CONTRAST ? color : against(ground));
  } else if (pen.inverse) {
    // On the colour of the page's text only that of its ground is sure to be read.
    span.classList.add("inverse");
  } else if (color) {
    // The style sheet keeps it far enough from the page's ground, in either scheme.
    span.classList.add("colored");
    span.style.setProperty("--color", css(color));
  }
  return span;
}

function against(ground) {
  return contrast(WHITE, ground) >= contrast(BLACK, ground) ? WHITE : BLACK;
}

/** Relative luminance and contrast: WCAG 2.2, 1.4.3. */
function contrast(one, other) {
  const [light, dark] = [luminance(one), luminance(other)].sort((a, b) => b - a);
  return (light + 0.05) / (dark + 0.05);
}

function luminance(color) {
  const [red, green, blue] = color.map((part) => {
    const share = part / 255;
    return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
}

function css(color) {
  return `rgb(${color.join(" ")})`;
}
