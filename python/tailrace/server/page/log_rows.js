// Where the bytes of a log are cut: behind lines, or anywhere in those that are too long.

const NEWLINE = 10;
const RETURN = 13;
const ESCAPE = 27;
/** What is laid out at a time: a screen has some 50 lines. */
const MOST_BYTES = 2 ** 15;
const MOST_ROWS = 400;
/** A longer line goes on in another row, or a screen of them would be megabytes. */
export const MOST_LINE = 2 ** 12;
/** What is looked through for the beginning of an escape sequence. */
const LONGEST_SEQUENCE = 64;

/** @param {Uint8Array} bytes @param {number} index @returns {boolean} whether a line ends with this byte */
export function endsRow(bytes, index) {
  if (bytes[index] !== RETURN) return bytes[index] === NEWLINE;
  return index + 1 < bytes.length && bytes[index + 1] !== NEWLINE && bytes[index + 1] !== RETURN;
}

/** @param {Uint8Array} bytes @returns {number} how many of them the first lines have that are laid out together */
export function firstRows(bytes) {
  let end = 0;
  let rows = 0;
  for (let index = 0; index < Math.min(bytes.length, MOST_BYTES) && index < end + MOST_LINE; index++) {
    if (endsRow(bytes, index)) {
      end = index + 1;
      if (++rows === MOST_ROWS) break;
    }
  }
  return end || wholeLength(bytes.subarray(0, MOST_LINE));
}

/**
 * @param {Uint8Array} bytes @param {boolean} isAll whether nothing stands before them
 * @returns {number} where the last lines begin that are laid out together
 */
export function lastRows(bytes, isAll) {
  const least = Math.max(0, bytes.length - MOST_BYTES);
  let start = bytes.length;
  let rows = 0;
  for (let index = bytes.length - 2; index >= Math.max(least, start - MOST_LINE); index--) {
    if (endsRow(bytes, index)) {
      start = index + 1;
      if (++rows === MOST_ROWS) return start;
    }
  }
  if (isAll && start <= MOST_LINE) return 0;
  return start < bytes.length ? start : firstCharacter(bytes, Math.max(0, bytes.length - MOST_LINE));
}

/**
 * @param {Uint8Array} bytes @param {number} place @param {boolean} isAll whether nothing stands before them
 * @returns {number} where the line begins in which it is, or the part of one
 */
export function rowStart(bytes, place, isAll) {
  for (let index = place; index > Math.max(0, place - MOST_LINE); index--) {
    if (endsRow(bytes, index - 1)) return index;
  }
  return isAll && place < MOST_LINE ? 0 : firstCharacter(bytes, place);
}

/** @returns {number} how many bytes there are before a character or a sequence at the end that goes on behind it */
function wholeLength(bytes) {
  const escape = bytes.lastIndexOf(ESCAPE);
  if (escape > 0 && escape >= bytes.length - LONGEST_SEQUENCE) return escape;
  let end = bytes.length - 1;
  // A byte that begins a character is one of the last four.
  while (end > bytes.length - 4 && isInside(bytes[end])) end--;
  return end > 0 && bytes[end] >= 0xc0 ? end : bytes.length;
}

function firstCharacter(bytes, from) {
  let start = from;
  while (start < from + 3 && isInside(bytes[start])) start++;
  return start;
}

function isInside(byte) {
  return byte >= 0x80 && byte < 0xc0;
}
