// Elements, and texts for people.

/**
 * Return a new element. What is no element becomes text, never markup.
 * @param {string} tag
 * @param {Object<string, any>} [props] attributes; `on` has listeners; false, null and undefined leave an attribute out
 * @param {...(Node|string|number|null|undefined|false|Array)} children
 * @returns {HTMLElement}
 */
export function h(tag, props = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (name === "on") {
      for (const [event, listener] of Object.entries(value)) element.addEventListener(event, listener);
    } else if (value !== false && value !== null && value !== undefined) {
      element.setAttribute(name, value === true ? "" : String(value));
    }
  }
  element.append(
    ...children
      .flat(Infinity)
      .filter((child) => child !== null && child !== undefined && child !== false)
      .map((child) => (child instanceof Node ? child : String(child))),
  );
  return element;
}

/** Set the text of an element where it differs: what is selected stays so, and nothing is read out again. */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/**
 * Have the children of `parent` be those of `keys`, in their order; each key keeps its element.
 * @param {Element} parent
 * @param {Map<string, {element: Element}>} parts those that are there; new ones are added, others removed
 * @param {string[]} keys
 * @param {(key: string) => {element: Element}} make
 */
export function arrange(parent, parts, keys, make) {
  const wanted = new Set(keys);
  for (const [key, part] of parts) {
    if (!wanted.has(key)) {
      part.element.remove();
      parts.delete(key);
    }
  }
  keys.forEach((key, index) => {
    if (!parts.has(key)) parts.set(key, make(key));
    const { element } = parts.get(key);
    // Moving an element takes the focus out of it.
    if (parent.children[index] !== element) parent.insertBefore(element, parent.children[index] ?? null);
  });
}

/** @param {number} seconds @returns {string} as in reports: 0.42 s, 12.3 s, 4 min 05 s, 2 h 07 min or 3 d 04 h */
export function duration(seconds) {
  if (!seconds) return "0 s";
  if (seconds < 9.995) return `${seconds.toFixed(2)} s`;
  if (seconds < 99.95) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  const two = (number) => String(number).padStart(2, "0");
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${two(whole % 60)} s`;
  if (whole < 86400) return `${Math.floor(whole / 3600)} h ${two(Math.floor((whole % 3600) / 60))} min`;
  return `${Math.floor(whole / 86400)} d ${two(Math.floor((whole % 86400) / 3600))} h`;
}

/** @param {number} seconds that are guessed @returns {string} the same in whole seconds, of which one is the least */
export function estimate(seconds) {
  const whole = Math.max(1, Math.round(seconds));
  return whole < 100 ? `${whole} s` : duration(whole);
}

/** @param {number} bytes @returns {string} 12 KiB, 2.0 MiB or 1.1 GiB */
export function size(bytes) {
  if (!bytes) return "0";
  if (bytes < 2 ** 20) return `${Math.round(bytes / 2 ** 10)} KiB`;
  return bytes < 999.95 * 2 ** 20 ? `${(bytes / 2 ** 20).toFixed(1)} MiB` : `${(bytes / 2 ** 30).toFixed(1)} GiB`;
}

/** @param {number} number @param {string} noun @returns {string} 1 chunk, 2,000 chunks */
export function counted(number, noun) {
  return `${number.toLocaleString("en")} ${noun}${number === 1 ? "" : "s"}`;
}

/** @param {number} seconds since the epoch @returns {string} on this machine's clock, without the day if it is today's */
export function moment(seconds) {
  const time = new Date(seconds * 1000);
  const isToday = time.toDateString() === new Date().toDateString();
  const clock = time.toLocaleTimeString("sv");
  return isToday ? clock : `${time.toLocaleDateString("sv")} ${clock}`;
}
