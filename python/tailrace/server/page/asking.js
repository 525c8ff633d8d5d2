// Questions that are asked again whenever something happens: not too often, and not while nobody looks.

/**
 * @param {(signal: AbortSignal) => Promise<void>} ask is not called again before it has returned, and throws nothing
 * @param {number} pause between an answer and the next question, in ms
 * @returns {{again: () => void, atOnce: () => void, close: () => void}} `again` asks once the pause is over, `atOnce` does
 *   not wait for that; after `close` nothing is asked, and what is being asked is given up
 */
export function createAsking(ask, pause) {
  const control = new AbortController();
  const { signal } = control;
  let timer = 0;
  let isAsking = false;
  let isDue = false;

  async function again() {
    if (signal.aborted) return;
    if (isAsking || timer || document.hidden) {
      isDue = true;
      return;
    }
    isAsking = true;
    isDue = false;
    await ask(signal);
    isAsking = false;
    if (signal.aborted) return;
    timer = setTimeout(() => {
      timer = 0;
      askIfDue();
    }, pause);
  }

  function askIfDue() {
    if (isDue) again();
  }

  document.addEventListener("visibilitychange", askIfDue, { signal });
  return {
    again,
    atOnce() {
      clearTimeout(timer);
      timer = 0;
      again();
    },
    close() {
      control.abort();
      clearTimeout(timer);
    },
  };
}
