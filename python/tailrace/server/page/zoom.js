// Looking at a part of a picture: wheel, keys, dragging.

const MOST = 16;
const STEP = 1.25;

/**
 * Have `content`, which fills `frame`, enlarged and moved in it.
 * @param {HTMLElement} frame
 * @param {HTMLElement} content
 * @returns {{key: (event: KeyboardEvent) => boolean, reset: () => void}} `key` takes + - 0, and returns whether it was one
 */
export function makeZoomable(frame, content) {
  let scale = 1;
  let left = 0;
  let top = 0;
  let drag = null;

  function apply() {
    const { clientWidth: width, clientHeight: height } = frame;
    left = Math.min(0, Math.max(left, width * (1 - scale)));
    top = Math.min(0, Math.max(top, height * (1 - scale)));
    content.style.transform = scale === 1 ? "" : `translate(${left}px, ${top}px) scale(${scale})`;
    frame.classList.toggle("zoomed", scale > 1);
  }

  function zoom(by, x = frame.clientWidth / 2, y = frame.clientHeight / 2) {
    const next = Math.min(MOST, Math.max(1, scale * by));
    left = x - ((x - left) * next) / scale;
    top = y - ((y - top) * next) / scale;
    scale = next;
    apply();
  }

  function reset() {
    scale = 1;
    apply();
  }

  content.style.transformOrigin = "0 0";
  frame.addEventListener(
    "wheel",
    (event) => {
      event.preventDefault();
      const box = frame.getBoundingClientRect();
      zoom(STEP ** -Math.sign(event.deltaY), event.clientX - box.left, event.clientY - box.top);
    },
    { passive: false },
  );
  frame.addEventListener("dblclick", (event) => {
    const box = frame.getBoundingClientRect();
    if (scale > 1) reset();
    else zoom(4, event.clientX - box.left, event.clientY - box.top);
  });
  frame.addEventListener("pointerdown", (event) => {
    if (scale === 1 || event.target.closest("input, button")) return;
    drag = { x: event.clientX - left, y: event.clientY - top };
    frame.setPointerCapture(event.pointerId);
  });
  frame.addEventListener("pointermove", (event) => {
    if (!drag) return;
    left = event.clientX - drag.x;
    top = event.clientY - drag.y;
    apply();
  });
  for (const end of ["pointerup", "pointercancel"])
    frame.addEventListener(end, () => {
      drag = null;
    });

  return {
    reset,
    key(event) {
      if (event.ctrlKey || event.metaKey || event.altKey) return false;
      if (event.key === "+" || event.key === "=") zoom(STEP);
      else if (event.key === "-") zoom(1 / STEP);
      else if (event.key === "0") reset();
      else return false;
      return true;
    },
  };
}
