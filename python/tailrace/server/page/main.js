// The page: who may look, and which part of it the address asks for.

import { ApiError, get, send } from "./api.js";
import { h, setText } from "./dom.js";
import { listen, startFeed } from "./feed.js";
import { createJob } from "./job.js";
import { createJobs } from "./jobs.js";
import { createNodes } from "./nodes.js";

const main = document.getElementById("main");
const connection = document.getElementById("connection");
const CONNECTION = { none: "", live: "Live", lost: "Not connected – trying again" };
let view = null;
let canChange = false;
let isListening = false;
let isConnected = false;

async function begin() {
  // The address that the server prints has its token there, where no log and no other page sees it.
  const token = location.hash.slice(1);
  if (token && !token.startsWith("/")) {
    history.replaceState(null, "", "#/");
    await send("POST", "/session", { token: decodeURIComponent(token) });
  }
  ({ canChange } = await get("/session"));
  if (!isListening) {
    isListening = true;
    startFeed();
    listen(onMessages);
  }
  route();
}

async function tryToBegin() {
  try {
    await begin();
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    if (error.status === 401) {
      askForToken();
    } else {
      show({ element: h("p", { class: "error" }, error.message), close() {} });
      setTimeout(tryToBegin, 3000);
    }
  }
}

function onMessages(messages) {
  for (const { connected, status } of messages) {
    if (connected === undefined) continue;
    isConnected = connected;
    tellConnection();
    if (status === 401) askForToken();
  }
}

function tellConnection() {
  // The stream may go on though nothing else is answered: what is seen is not live.
  const state = view?.isSignIn || !isListening ? "none" : isConnected ? "live" : "lost";
  connection.className = state;
  setText(connection, CONNECTION[state]);
}

function show(next) {
  const isFirst = view === null;
  view?.close();
  view = next;
  main.replaceChildren(view.element);
  tellConnection();
  scrollTo(0, 0);
  // What had the focus is gone: who uses the keyboard or listens goes on where the new part begins.
  if (!isFirst) main.focus({ preventScroll: true });
}

function route() {
  const [, kind, id, part, rest] = location.hash.split("/").map(decodeURIComponent);
  for (const link of document.querySelectorAll(".bar nav a:not(.brand)")) {
    const isHere = link.getAttribute("href") === (kind === "nodes" ? "#/nodes" : "#/");
    if (isHere) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  if (kind === "job" && id) {
    if (view?.jobId === id) view.open(part, rest);
    else {
      show(createJob({ jobId: id, canChange }));
      view.open(part, rest);
    }
  } else if (kind === "nodes") {
    show(createNodes({ canChange }));
  } else {
    show(createJobs());
  }
}

function askForToken() {
  if (view?.isSignIn) return;
  const problem = h("p", { class: "note", role: "alert" });
  const input = h("input", { type: "password", "aria-label": "Token", autocomplete: "off", required: true });
  const onSubmit = async (event) => {
    event.preventDefault();
    try {
      await send("POST", "/session", { token: input.value.trim() });
    } catch (error) {
      setText(problem, error.message);
      input.select();
      return;
    }
    tryToBegin();
  };
  const element = h(
    "section",
    { class: "signin" },
    h("h1", {}, "tailrace"),
    h(
      "p",
      {},
      "The server's token is needed: open the address that it printed when it started, or give the token here.",
    ),
    h("form", { on: { submit: onSubmit } }, input, h("button", { class: "main" }, "Look")),
    problem,
  );
  show({ element, isSignIn: true, close() {} });
  input.focus();
}

addEventListener("signedout", askForToken);
// Its address would be taken for a token.
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault();
  main.focus();
});
addEventListener("hashchange", () => {
  // What is asked, or looked at, is of the part that was left.
  for (const dialog of document.querySelectorAll("dialog")) dialog.close("");
  if (!location.hash.startsWith("#/") && location.hash.length > 1) tryToBegin();
  else if (!view?.isSignIn) route();
});
tryToBegin();
