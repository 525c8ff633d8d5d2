// The jobs of the farm, the newest first.

import { get, now } from "./api.js";
import { createAsking } from "./asking.js";
import { arrange, counted, duration, estimate, h, moment, setText } from "./dom.js";
import { listen } from "./feed.js";

const PAGE = 100;
const MOST = 1000; // that one answer has
const PAUSE = 1000; // ms between questions, however much happens
const KINDS = {
  All: null,
  Active: ["pending", "running", "paused", "merging"],
  Paused: ["paused"],
  Completed: ["completed"],
  Failed: ["failed"],
  Cancelled: ["cancelled"],
};

/** @returns {{element: HTMLElement, close: () => void}} */
export function createJobs() {
  const rows = new Map();
  let jobs = [];
  let kind = "All";
  let limit = PAGE;
  const asking = createAsking(refresh, PAUSE);

  const list = h("ul", { class: "jobs", "aria-label": "Jobs" });
  const note = h("div", { class: "empty", role: "status" }, "Loading …");
  const more = h(
    "button",
    {
      hidden: true,
      on: {
        click: () => {
          limit += PAGE;
          asking.atOnce();
        },
      },
    },
    "Show more",
  );
  const search = h("input", {
    type: "search",
    placeholder: "Names, ids, owners, tags, comments",
    "aria-label": "Search",
    on: { input: draw },
  });
  const kinds = Object.keys(KINDS).map((name) =>
    h(
      "button",
      {
        "aria-pressed": String(name === kind),
        on: {
          click: () => {
            kind = name;
            for (const button of kinds) button.setAttribute("aria-pressed", String(button.textContent === name));
            asking.atOnce();
          },
        },
      },
      name,
    ),
  );
  const element = h(
    "div",
    {},
    h("h1", { class: "hidden" }, "Jobs"),
    h("div", { class: "tools" }, kinds, search),
    list,
    note,
    more,
  );

  async function refresh(signal) {
    try {
      const states = KINDS[kind] ? `&states=${KINDS[kind].join(",")}` : "";
      const found = [];
      for (let left = limit; left > 0; left -= MOST) {
        const before = found.length ? `&before=${found.at(-1).id}` : "";
        found.push(...(await get(`/jobs?limit=${Math.min(left, MOST)}${before}${states}`, signal)).jobs);
        if (found.length < limit - left + Math.min(left, MOST)) break;
      }
      jobs = found;
      more.hidden = jobs.length < limit;
      draw();
    } catch (error) {
      // What was known stays to be seen; the head of the page says that there is no connection.
      if (!jobs.length) setText(note, error.message);
    }
  }

  function draw() {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const isWanted = (job) => {
      const text = [job.name, job.id, job.owner, job.comment, ...job.tags].join(" ").toLowerCase();
      return words.every((word) => text.includes(word));
    };
    const shown = jobs.filter(isWanted);
    arrange(
      list,
      rows,
      shown.map((job) => job.id),
      createRow,
    );
    for (const job of shown) rows.get(job.id).update(job);
    list.hidden = !shown.length;
    note.hidden = shown.length > 0;
    if (!shown.length) {
      if (jobs.length || kind !== "All") setText(note, "No job is like that.");
      else
        note.replaceChildren(
          "There is no job yet. This adds one:",
          h("br"),
          h("pre", {}, "tailrace job submit job.json"),
        );
    }
  }

  const stop = listen((messages) => {
    if (messages.some((message) => message.jobId || message.gap || message.connected)) asking.again();
  });
  // An ETA comes nearer while nothing happens.
  const clock = setInterval(asking.again, 10000);
  asking.again();
  return {
    element,
    close() {
      stop();
      asking.close();
      clearInterval(clock);
    },
  };
}

function createRow(id) {
  const name = h("span", { class: "name" });
  const about = h("span");
  const bar = createProgress();
  const state = h("span", { class: "pill" });
  const when = h("small");
  const why = h("span", { class: "why", hidden: true });
  const link = h(
    "a",
    { class: "job", href: `#/job/${encodeURIComponent(id)}` },
    h("span", {}, name, h("span", {}, h("span", { class: "id" }, `${id} · `), about)),
    bar.element,
    h("span", { class: "right" }, state, when),
    why,
  );
  return {
    element: h("li", {}, link),
    update(job) {
      setText(name, job.name);
      setText(about, describe(job));
      bar.update(job);
      state.className = `pill ${job.state}`;
      setText(state, job.state);
      setText(when, timing(job));
      why.hidden = !job.error;
      setText(why, job.error ?? "");
    },
  };
}

/** @returns {{element: HTMLElement, update: (job: object) => void}} the bar of a job */
export function createProgress() {
  const completed = h("i", { class: "completed" });
  const failed = h("i", { class: "failed" });
  const element = h(
    "span",
    { class: "progress", role: "progressbar", "aria-valuemin": 0, "aria-valuemax": 100 },
    completed,
    failed,
  );
  return {
    element,
    update(job) {
      const lost = job.totalChunks ? job.failedChunks / job.totalChunks : 0;
      completed.style.width = `${100 * Math.min(job.progress, 1 - lost)}%`;
      failed.style.width = `${100 * lost}%`;
      element.setAttribute("aria-valuenow", String(Math.floor(100 * job.progress)));
      element.setAttribute("aria-label", `Progress of ${job.name}`);
    },
  };
}

function describe(job) {
  const parts = [`${job.completedChunks.toLocaleString("en")} of ${counted(job.totalChunks, "chunk")}`];
  if (job.failedChunks) parts.push(`${job.failedChunks.toLocaleString("en")} failed`);
  if (job.owner) parts.push(job.owner);
  if (job.priority) parts.push(`priority ${job.priority}`);
  return [...parts, ...job.tags.map((tag) => `#${tag}`)].join(" · ");
}

/** @param {object} job @returns {string} when it ended, ends or was added */
export function timing(job) {
  if (job.finishedAt)
    return `${moment(job.finishedAt)}${job.startedAt ? `, took ${duration(job.finishedAt - job.startedAt)}` : ""}`;
  if (job.eta) return `ends in ${estimate(job.eta - now())}`;
  return job.startedAt ? `since ${moment(job.startedAt)}` : `added ${moment(job.createdAt)}`;
}
