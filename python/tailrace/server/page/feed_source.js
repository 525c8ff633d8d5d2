// The stream of events of a farm, which goes on whatever becomes of the connection.
//
// By fetch and not by EventSource: that one cannot tell a connection that is dead from one on which nothing happens, nor
// a refusal from a server that is away.

const AGAIN = 2000; // ms
const SILENCE = 40000; // ms; the server says something every 15 s

/**
 * Have `onMessages` called with what comes, several messages at a time; {connected: false} may have the `status` of a
 * refusal.
 * @param {(messages: object[]) => void} onMessages
 */
export async function openFeed(onMessages) {
  let last = ""; // the id from which to go on
  for (let isFirst = true; ; isFirst = false) {
    const controller = new AbortController();
    let silence = setTimeout(() => controller.abort(), SILENCE);
    let status = 0;
    try {
      const response = await fetch(`/api/v1/events${last && `?after=${last}`}`, {
        credentials: "same-origin",
        signal: controller.signal,
      });
      status = response.status;
      if (response.ok) {
        // Without an id nobody knows what was missed.
        onMessages(isFirst || last ? [{ connected: true }] : [{ gap: true }, { connected: true }]);
        let rest = "";
        const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
        for (let piece = await reader.read(); !piece.done; piece = await reader.read()) {
          clearTimeout(silence);
          silence = setTimeout(() => controller.abort(), SILENCE);
          const blocks = (rest + piece.value).split("\n\n");
          rest = blocks.pop();
          const messages = [];
          for (const block of blocks) {
            for (const line of block.split("\n")) {
              if (line.startsWith("id: ")) last = line.slice(4);
              else if (line.startsWith("data: ")) messages.push(JSON.parse(line.slice(6)));
            }
          }
          if (messages.length) onMessages(messages);
        }
      }
    } catch {
      // The connection was lost, or there was none.
    }
    clearTimeout(silence);
    controller.abort();
    onMessages([{ connected: false, status }]);
    await new Promise((resolve) => setTimeout(resolve, AGAIN));
  }
}
