// What happens in the farm: one stream for all tabs, since a browser opens only six connections to a server.

import { openFeed } from "./feed_source.js";

const listeners = new Set();
let isConnected = false;

function tell(messages) {
  for (const message of messages) if ("connected" in message) isConnected = message.connected;
  for (const listener of [...listeners]) listener(messages);
}

/**
 * Have `onMessages` called with arrays of messages, of all jobs, until what is returned is called: {id, jobId, time} with
 * `change`, `event` or `gap` as docs/server.md says, and {connected: true or false}. After a gap all has to be asked anew.
 * @param {(messages: object[]) => void} onMessages
 * @returns {() => void}
 */
export function listen(onMessages) {
  listeners.add(onMessages);
  onMessages([{ connected: isConnected }]);
  return () => listeners.delete(onMessages);
}

/** Begin to listen to the farm; the browser has to have the cookie. */
export function startFeed() {
  if (!("SharedWorker" in window)) {
    openFeed(tell);
    return;
  }
  const join = () => {
    const worker = new SharedWorker("/page/feed_worker.js", { type: "module", name: "tailrace feed" });
    worker.port.onmessage = ({ data }) => tell(data);
    worker.port.start();
    addEventListener("pagehide", () => worker.port.postMessage("leave"), { once: true });
  };
  join();
  // A page that comes back out of the browser's store had left.
  addEventListener("pageshow", (event) => {
    if (!event.persisted) return;
    join();
    tell([{ gap: true }]);
  });
}
