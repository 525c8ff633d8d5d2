// One chunk: what is known of it, what can be done with it, and what it writes.

import { get, now } from "./api.js";
import { createAsking } from "./asking.js";
import { duration, h, moment, setText, size } from "./dom.js";
import { createChunkActions } from "./job_actions.js";
import { createLog } from "./log.js";

const PAUSE = 1000; // ms

/**
 * @param {{jobId: string, chunkId: number, canChange: boolean, getJob: () => object, onClose: () => void}} options
 * @returns {{element: HTMLElement, messages: (list: object[]) => void, update: () => void, close: () => void}}
 */
export function createChunk({ jobId, chunkId, canChange, getJob, onClose }) {
  let chunk = null;
  const asking = createAsking(refresh, PAUSE);
  const state = h("span", { class: "pill" });
  const facts = h("dl", { class: "facts" });
  const why = h("p", { class: "error", hidden: true });
  const actions = createChunkActions({ jobId, chunkId, onDone: asking.again });
  const log = createLog({ jobId, chunkId });
  const element = h(
    "section",
    { class: "chunk", "aria-label": `Chunk ${chunkId}` },
    h(
      "div",
      { class: "head" },
      h("h2", {}, `Chunk ${chunkId} `, state),
      h("div", { class: "tools" }, canChange && actions.element, h("button", { on: { click: onClose } }, "Close")),
    ),
    facts,
    why,
    log.element,
  );

  async function refresh(signal) {
    try {
      const { chunks } = await get(`/jobs/${jobId}/chunks?ids=${chunkId}`, signal);
      [chunk] = chunks;
      draw();
    } catch (error) {
      why.hidden = false;
      setText(why, error.message);
    }
    // What it uses and how long it takes is told by nobody.
    if (chunk?.state === "running") asking.again();
  }

  function draw() {
    const job = getJob();
    if (!chunk || !job) return;
    state.className = `pill ${chunk.state}`;
    setText(state, chunk.state);
    const { usage } = chunk;
    const running = chunk.state === "running" && chunk.startedAt ? now() - chunk.startedAt : null;
    const rows = [
      ["Attempts", chunk.attempts],
      ["Started", chunk.startedAt && moment(chunk.startedAt)],
      [
        "Took",
        chunk.duration !== null
          ? duration(chunk.duration)
          : running !== null && `${duration(Math.max(0, running))} so far`,
      ],
      ["Progress", chunk.state === "running" && `${Math.floor(100 * chunk.progress)} %`],
      ["Exit status", chunk.exitCode],
      ["Processor", usage && duration(usage.cpuUser + usage.cpuSystem)],
      ["Memory", usage && size(usage.treeMaxRss ?? usage.maxRss ?? 0)],
      ["Node", chunk.node],
    ].filter(([, value]) => value !== null && value !== false && value !== undefined && value !== "");
    facts.replaceChildren(...rows.map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))));
    why.hidden = !chunk.error;
    setText(why, chunk.error ?? "");
    actions.update(job, chunk);
  }

  asking.again();
  return {
    element,
    messages(list) {
      if (
        list.some(
          ({ gap, connected, change }) => gap || connected || (change && [chunkId, null].includes(change.chunkId)),
        )
      )
        asking.again();
      log.messages?.(list);
    },
    update: draw,
    close() {
      asking.close();
      log.close();
    },
  };
}
