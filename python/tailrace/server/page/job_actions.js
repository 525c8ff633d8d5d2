// What can be done with a job and its chunks, as buttons; what loses work is asked for once more.

import { send } from "./api.js";
import { ask, confirm, say } from "./dialogs.js";
import { h } from "./dom.js";

const RUNS = ["pending", "running", "paused", "merging"];
const ENDED = ["completed", "failed", "cancelled"];

/**
 * @param {{jobId: string, getJob: () => object, onDone: () => void}} options `onDone` is called when something was changed
 * @returns {{element: HTMLElement, update: (job: object) => void}}
 */
export function createJobActions({ jobId, getJob, onDone }) {
  const path = `/jobs/${jobId}`;
  const post = (what, body = {}) => send("POST", `${path}/${what}`, body);

  const actions = [
    ["Pause", ["pending", "running"], () => post("pause")],
    ["Resume", ["paused"], () => post("resume")],
    ["Begin now", ["pending"], () => post("resume"), (job) => job.notBefore || job.after.length],
    [
      "Pause now",
      ["running", "merging"],
      async () => {
        const text =
          "The chunks that run are ended, and begin anew when the job is resumed: what they have rendered of unfinished frames is lost.";
        return (await confirm("Pause at once?", text, "Pause now")) && post("pause", { now: true });
      },
    ],
    ["Retry what is left", ["failed", "cancelled"], () => post("retry")],
    [
      "Cancel",
      RUNS,
      async () => {
        const text = "The chunks that run are ended. What is finished stays, and the rest can be run later by Retry.";
        return (await confirm("Cancel the job?", text, "Cancel the job")) && post("cancel");
      },
      null,
      "danger",
    ],
    [
      "Priority",
      RUNS,
      async () => {
        const field = {
          name: "priority",
          label: "Jobs with a higher one go first",
          type: "number",
          value: getJob().priority,
        };
        const values = await ask("Priority", "", "Set", [field]);
        return values && post("priority", { priority: Number(values.priority) });
      },
    ],
    [
      "Edit",
      ["pending", "paused"],
      async () => {
        const job = getJob();
        const values = await ask("Edit the job", "", "Save", [
          { name: "name", label: "Name", value: job.name },
          { name: "tags", label: "Tags, with commas between them", value: job.tags.join(", ") },
          { name: "comment", label: "Comment", type: "area", value: job.comment },
          { name: "retries", label: "Retries of a chunk that fails", type: "number", value: job.settings.retries },
          {
            name: "maxRunning",
            label: "Chunks at a time; nothing: as many as the farm has slots",
            type: "number",
            value: job.settings.maxRunning ?? "",
          },
        ]);
        if (!values) return false;
        const maxRunning = values.maxRunning === "" ? null : Number(values.maxRunning);
        const settings = { ...job.settings, retries: Number(values.retries), maxRunning };
        const tags = values.tags
          .split(",")
          .map((tag) => tag.trim())
          .filter(Boolean);
        return send("PATCH", path, { name: values.name, tags, comment: values.comment, settings });
      },
    ],
    [
      "Delete",
      ["pending", "paused", ...ENDED],
      async () => {
        const text = "The job, its events and its logs are gone then; what it rendered stays.";
        if (!(await confirm("Delete the job?", text, "Delete the job"))) return false;
        await send("DELETE", path);
        location.hash = "#/";
        return false;
      },
      null,
      "danger",
    ],
  ];

  const buttons = actions.map(([label, states, act, isWanted, kind]) => {
    const run = async () => {
      button.disabled = true;
      try {
        if (await act()) onDone();
      } catch (error) {
        say(error.message);
      } finally {
        button.disabled = false;
      }
    };
    const button = h("button", { class: kind, hidden: true, on: { click: run } }, label);
    return { button, isShown: (job) => states.includes(job.state) && (!isWanted || isWanted(job)) };
  });
  return {
    element: h(
      "div",
      { class: "tools", role: "group", "aria-label": "Job" },
      buttons.map(({ button }) => button),
    ),
    update(job) {
      for (const { button, isShown } of buttons) button.hidden = !isShown(job);
    },
  };
}

/**
 * @param {{jobId: string, chunkId: number, onDone: () => void}} options
 * @returns {{element: HTMLElement, update: (job: object, chunk: object) => void}}
 */
export function createChunkActions({ jobId, chunkId, onDone }) {
  let isDone = false;
  const run = (act) => async () => {
    try {
      if (await act()) onDone();
    } catch (error) {
      say(error.message);
    }
  };
  const retry = h(
    "button",
    {
      on: {
        click: run(async () => {
          const text = "It is completed: what it rendered is rendered anew, and replaced.";
          if (isDone && !(await confirm(`Run chunk ${chunkId} again?`, text, "Run it again"))) return false;
          return send("POST", `/jobs/${jobId}/retry`, { chunkIds: [chunkId], done: isDone });
        }),
      },
    },
    "Retry",
  );
  const markDone = h(
    "button",
    {
      on: {
        click: run(async () => {
          const text = "It is not run, and what it should have rendered is taken for rendered.";
          return (
            (await confirm(`Mark chunk ${chunkId} as done?`, text, "Mark as done")) &&
            send("POST", `/jobs/${jobId}/mark-done`, { chunkIds: [chunkId] })
          );
        }),
      },
    },
    "Mark as done",
  );
  return {
    element: h("div", { class: "tools", role: "group", "aria-label": `Chunk ${chunkId}` }, retry, markDone),
    update(job, chunk) {
      isDone = chunk.state === "completed";
      retry.hidden = !ENDED.includes(job.state);
      markDone.hidden = isDone || !["pending", "paused", "failed", "cancelled"].includes(job.state);
    },
  };
}
