// One job: its head, what can be done with it, and its parts, of which one is seen at a time.

import { get, now } from "./api.js";
import { createAsking } from "./asking.js";
import { createChunk } from "./chunk.js";
import { createChunkGrid } from "./chunk_grid.js";
import { say } from "./dialogs.js";
import { counted, duration, h, moment, setText } from "./dom.js";
import { listen } from "./feed.js";
import { createFrames } from "./frames.js";
import { createJobActions } from "./job_actions.js";
import { createProgress, timing } from "./jobs.js";
import { createTimes } from "./times.js";

const PAUSE = 500; // ms between questions, however much happens
const TABS = { chunks: "Chunks", frames: "Frames", times: "Times and failures" };

/**
 * @param {{jobId: string, canChange: boolean}} options
 * @returns {{element: HTMLElement, jobId: string, open: (tab?: string, chunkId?: string) => void, close: () => void}}
 */
export function createJob({ jobId, canChange }) {
  const address = `#/job/${encodeURIComponent(jobId)}`;
  let job = null;
  let tab = "";
  let part = null; // what the tab shows
  let chunk = null; // the chunk that is looked at, below the grid
  const asking = createAsking(refresh, PAUSE);

  const title = h("h1", {}, "…");
  const state = h("span", { class: "pill" });
  const when = h("span");
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(jobId);
      say("The id is copied.");
    } catch (error) {
      say(error.message);
    }
  };
  // Browsers have it only where the connection is safe; a click selects the id too.
  const copyId = navigator.clipboard && h("button", { "aria-label": "Copy the id", on: { click: copy } }, "Copy");
  const about = h("p", { class: "about" });
  const why = h("p", { class: "error", hidden: true });
  const bar = createProgress();
  const actions = createJobActions({ jobId, getJob: () => job, onDone: asking.again });
  const report = h("a", { class: "button", href: `/api/v1/jobs/${jobId}/report`, download: "report.html" }, "Report");
  const tabs = Object.entries(TABS).map(([name, label]) => [name, h("a", { href: `${address}/${name}` }, label)]);
  const body = h("div");
  const below = h("div");
  const element = h(
    "div",
    {},
    h(
      "div",
      { class: "head" },
      h(
        "div",
        {},
        title,
        h("p", { class: "when" }, state, when),
        h("p", { class: "id" }, "Job ", h("code", {}, jobId), copyId),
      ),
      h("div", { class: "tools" }, canChange && actions.element, report),
    ),
    bar.element,
    about,
    why,
    h(
      "nav",
      { class: "tabs", "aria-label": "Parts of the job" },
      tabs.map(([, link]) => link),
    ),
    body,
    below,
  );

  async function refresh(signal) {
    try {
      job = await get(`/jobs/${jobId}`, signal);
      draw();
    } catch (error) {
      if (error.status === 404) gone(error.message);
      else if (!job) setText(about, error.message);
    }
  }

  function draw() {
    setText(title, job.name);
    document.title = `${job.name} – tailrace`;
    state.className = `pill ${job.state}`;
    setText(state, job.state);
    setText(when, timing(job));
    setText(about, describe(job));
    why.hidden = !job.error;
    why.className = job.state === "failed" ? "error" : "error waits";
    setText(why, job.error ?? "");
    bar.update(job);
    actions.update(job);
    chunk?.update();
    part?.update?.(job);
  }

  function gone(message) {
    element.replaceChildren(
      h("p", { class: "error" }, message),
      h("p", { class: "note" }, h("a", { href: "#/" }, "All jobs")),
    );
    close();
  }

  function open(name, chunkId) {
    const wanted = name in TABS ? name : "chunks";
    if (wanted !== tab) {
      tab = wanted;
      part?.close();
      part = createPart();
      body.replaceChildren(part.element);
      part.update?.(job);
      for (const [key, link] of tabs) {
        if (key === tab) link.setAttribute("aria-current", "page");
        else link.removeAttribute("aria-current");
      }
    }
    const wantedChunk = tab === "chunks" && /^\d+$/.test(chunkId ?? "") ? Number(chunkId) : null;
    if (chunk?.id !== wantedChunk) {
      chunk?.close();
      chunk = null;
      if (wantedChunk !== null) {
        chunk = createChunk({ jobId, chunkId: wantedChunk, canChange, getJob: () => job, onClose: () => go("chunks") });
        chunk.id = wantedChunk;
      }
      below.replaceChildren(...(chunk ? [chunk.element] : []));
    }
    if (tab === "chunks") part.select(wantedChunk);
    chunk?.update();
  }

  const go = (path) => {
    location.hash = `${address}/${path}`;
  };

  function createPart() {
    const onChunk = (id) => go(`chunks/${id}`);
    switch (tab) {
      case "frames":
        return createFrames({ jobId, onChunk });
      case "times":
        return createTimes({ jobId, onChunk });
      default: {
        const grid = createChunkGrid({ jobId, onSelect: onChunk });
        return { ...grid, element: h("section", {}, h("h2", { class: "hidden" }, "Chunks"), grid.element) };
      }
    }
  }

  const stop = listen((all) => {
    const list = all.filter((message) => message.jobId === jobId || message.gap || "connected" in message);
    if (!list.length) return;
    if (
      list.some(({ change, gap, connected, event }) => change || gap || connected || event?.event === "chunk_progress")
    )
      asking.again();
    part?.messages?.(list);
    chunk?.messages(list);
  });
  const clock = setInterval(() => {
    if (job && !document.hidden) setText(when, timing(job));
  }, 1000);
  asking.again();

  function close() {
    stop();
    asking.close();
    clearInterval(clock);
    part?.close();
    chunk?.close();
    document.title = "tailrace";
  }

  return { element, jobId, open, close };
}

function describe(job) {
  const parts = [
    `${job.completedChunks.toLocaleString("en")} of ${counted(job.totalChunks, "chunk")} done, ${Math.floor(100 * job.progress)} %`,
  ];
  if (job.failedChunks) parts.push(`${job.failedChunks.toLocaleString("en")} failed`);
  if (job.startedAt && !job.finishedAt) parts.push(`running for ${duration(now() - job.startedAt)}`);
  parts.push(`added ${moment(job.createdAt)}${job.owner ? ` by ${job.owner}` : ""}`);
  if (job.priority) parts.push(`priority ${job.priority}`);
  if (job.after.length) parts.push(`after ${job.after.join(", ")}`);
  if (job.notBefore) parts.push(`not before ${moment(job.notBefore)}`);
  parts.push(...job.tags.map((tag) => `#${tag}`), job.comment, job.folder);
  return parts.filter(Boolean).join(" · ");
}
