// One image after the other. The server alone knows where an annotator stands; this page shows it and sends answers.
"use strict";

// Shorter than anyone decides: a press so soon after an image appears was meant for the one before.
const REST_MS = 250;
// A connection that is silent for so long is given up, and the request made again.
const SILENCE_MS = 15000;
const RETRY_MS = [400, 800, 1600, 3200, 5000];
const MOST_MS = 3600000;

const byId = (id) => document.getElementById(id);
const main = byId("main");
const formToken = document.querySelector('meta[name="form-token"]').content;
const feedbackMs = Number(main.dataset.feedbackMs);
const size = { width: Number(main.dataset.width), height: Number(main.dataset.height) };
const buttons = { real: byId("real"), generated: byId("generated") };

let current = null; // The state on show.
let accepting = false; // Whether a press counts.
let busy = false; // Whether an answer is under way or its feedback on show.
let shownAt = 0;
let dismissed = -1; // The number of answers at which the pause was ended.
const loading = new Map(); // Images under way or loaded, by token.

const wait = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

// Waits, but no longer than until the network is back.
function waitForNetwork(ms) {
  return new Promise((resolve) => {
    const timer = setTimeout(done, ms);
    function done() {
      clearTimeout(timer);
      window.removeEventListener("online", done);
      resolve();
    }
    window.addEventListener("online", done);
  });
}

class Refused extends Error {}

// Tries until the server answers: what is sent twice is recorded once.
async function ask(path, options, trouble) {
  for (let attempt = 0; ; attempt += 1) {
    try {
      const response = await fetch(path, {
        cache: "no-store",
        signal: AbortSignal.timeout?.(SILENCE_MS),
        ...options,
      });
      if (response.ok) {
        byId("trouble").textContent = "";
        return await response.json();
      }
      if (response.status < 500 && response.status !== 429 && response.status !== 408) {
        throw new Refused(String(response.status));
      }
    } catch (error) {
      if (error instanceof Refused) throw error;
    }
    byId("trouble").textContent = trouble;
    await waitForNetwork(RETRY_MS[Math.min(attempt, RETRY_MS.length - 1)]);
  }
}

async function loadOnce(token, patience) {
  const image = new Image();
  image.src = `/image/${token}`;
  image.draggable = false;
  let timer;
  const silence = new Promise((_, reject) => { timer = setTimeout(reject, patience); });
  try {
    await Promise.race([image.decode(), silence]);
  } catch (error) {
    image.src = ""; // Another attempt at the same address must not wait for this one.
    throw error;
  } finally {
    clearTimeout(timer);
  }
  return image;
}

function load(token) {
  if (!loading.has(token)) {
    loading.set(token, (async () => {
      for (let attempt = 0; ; attempt += 1) {
        try {
          const image = await loadOnce(token, SILENCE_MS * (attempt + 1)); // A large image may take longer.
          if (attempt) byId("trouble").textContent = "";
          return image;
        } catch {
          // The server lets an image be seen when its turn is near: another tab may have moved on.
          if (attempt > 3 && current && current.trial !== token && current.next !== token) return null;
          if (current && current.trial === token) byId("trouble").textContent = "No connection. Trying again.";
          await waitForNetwork(RETRY_MS[Math.min(attempt, RETRY_MS.length - 1)]);
        }
      }
    })());
  }
  return loading.get(token);
}

// A whole number of screen pixels for each pixel of the image keeps them square and equal.
function fit() {
  const image = byId("stage").querySelector("img");
  if (!image) return;
  const style = getComputedStyle(byId("stage"));
  const room = byId("stage").clientWidth - parseFloat(style.paddingLeft) - parseFloat(style.paddingRight);
  const density = window.devicePixelRatio || 1;
  const exact = (room * density) / Math.max(size.width, size.height);
  const scale = (exact >= 1 ? Math.floor(exact) : exact) / density;
  image.style.width = `${size.width * scale}px`;
  image.style.height = `${size.height * scale}px`;
  image.classList.toggle("smooth", exact < 1);
}

function show(section) {
  for (const id of ["trial", "pause", "done"]) byId(id).hidden = id !== section;
}

function clearFeedback() {
  byId("feedback").textContent = "";
  byId("feedback").className = "feedback";
  byId("stage").className = "stage";
  for (const button of Object.values(buttons)) button.classList.remove("pressed");
}

function presentPlace(state) {
  byId("progress").max = state.all;
  byId("progress").value = state.answered;
  byId("count").textContent = state.phase === "done" ? "" : `${state.number} of ${state.total}`;
  byId("block").textContent = state.phase === "trial" ?
    `Block ${Math.ceil(state.number / main.dataset.blockSize)} of ${main.dataset.blocks}` :
    { practice: "Practice", done: "" }[state.phase];
}

async function present(state) {
  current = state;
  accepting = false;
  for (const token of loading.keys()) {
    if (token !== state.trial && token !== state.next) loading.delete(token);
  }
  if (state.phase === "done") return presentEnd(state);
  const arriving = load(state.trial);
  if (state.next) load(state.next);
  if (state.pause && dismissed !== state.answered) return presentPause(state);
  const image = await arriving;
  if (current !== state) return undefined;
  if (!image) return refresh();
  const moved = byId("trial").hidden;
  presentPlace(state);
  clearFeedback();
  image.alt = `Image ${state.number}`;
  byId("stage").replaceChildren(image);
  show("trial");
  fit();
  byId("announcement").textContent =
    `${state.phase === "practice" ? "Practice image" : "Image"} ${state.number} of ${state.total}`;
  if (moved) byId("question").focus();
  requestAnimationFrame(() => requestAnimationFrame(() => {
    // Frames rest in a hidden tab: what another one answered meanwhile must not open this image's gate.
    if (current !== state || busy) return;
    shownAt = performance.now();
    accepting = true;
  }));
  return undefined;
}

const part = (right, of) => `${right} of ${of}`;

function presentPause(state) {
  presentPlace(state);
  const pause = state.pause;
  const told = pause.right !== undefined;
  byId("pause-score").textContent = told ? part(pause.right, pause.of) : "";
  if (pause.kind === "practice") {
    byId("pause-heading").textContent = "Practice is over";
    byId("pause-text").textContent = `${told ? "right in practice. " : ""}From here on every answer counts.`;
  } else {
    byId("pause-heading").textContent = `Block ${pause.block} of ${pause.blocks} is done`;
    const sofar = told ? `right in this block, ${part(pause.all_right, pause.all_of)} ` +
      `(${Math.round((100 * pause.all_right) / pause.all_of)}%) in all so far. ` : "";
    byId("pause-text").textContent = `${sofar}Rest your eyes for a moment if you like.`;
  }
  show("pause");
  byId("pause-heading").focus();
  return undefined;
}

function presentEnd(state) {
  presentPlace(state);
  const { right, of } = state.result;
  byId("done-score").textContent = part(right, of);
  byId("done-text").textContent =
    `answers were right (${Math.round((100 * right) / of)}%). Guessing gives about half. All of them are stored; ` +
    "you may close this page.";
  show("done");
  byId("done-heading").focus();
  return undefined;
}

async function refresh() {
  try {
    await present(await ask("/state", {}, "No connection. Trying again."));
  } catch {
    byId("trouble").textContent = "This page is out of date. Please load it again.";
  }
}

async function answer(choice) {
  const now = performance.now();
  if (!accepting || busy || now - shownAt < REST_MS) return;
  accepting = false;
  busy = true;
  buttons[choice].classList.add("pressed");
  const responseMs = Math.min(MOST_MS, Math.round(now - shownAt));
  try {
    const outcome = await ask("/answer", {
      method: "POST",
      headers: { "Content-Type": "application/json", "X-Form-Token": formToken },
      body: JSON.stringify({ trial: current.trial, choice, response_ms: responseMs }),
    }, "No connection. Your answer is kept and sent again until it arrives; please leave this page open.");
    if (outcome.feedback) {
      const { right, truth } = outcome.feedback;
      const kind = right ? "right" : "wrong";
      const elsewhere = outcome.choice === choice ? "" : "Answered in another window. ";
      byId("stage").className = `stage ${kind}`;
      byId("feedback").className = `feedback ${kind}`;
      byId("feedback").textContent = `${elsewhere}${right ? "✓ Right" : "✗ Wrong"}: it is ${truth}.`;
      await wait(feedbackMs);
    }
    busy = false;
    await present(outcome.state);
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    busy = false;
    // Someone else has begun in this browser: this page's form token is not theirs.
    if (error.message === "403") window.location.reload();
    else await refresh();
  }
}

for (const [choice, button] of Object.entries(buttons)) {
  // `detail` counts the clicks of a double click; the second was meant for the same image.
  button.addEventListener("click", (event) => { if (event.detail < 2) answer(choice); });
}
byId("continue").addEventListener("click", () => {
  dismissed = current.answered;
  present(current);
});
document.addEventListener("keydown", (event) => {
  // Held on a button, Enter would press it again for each image that comes.
  if (event.repeat && event.key === "Enter" && event.target.matches?.(".choice")) event.preventDefault();
  if (event.repeat || event.altKey || event.ctrlKey || event.metaKey || event.shiftKey) return;
  const choice = { ArrowLeft: "real", ArrowRight: "generated" }[event.key];
  if (choice && !byId("trial").hidden) {
    event.preventDefault();
    answer(choice);
  }
});
window.addEventListener("resize", fit);
// Another window may have gone on, and a page from the browser's memory shows what was.
async function catchUp() {
  if (busy || !current) return;
  try {
    const state = await ask("/state", {}, "No connection. Trying again.");
    if (!busy && state.answered > current.answered) await present(state);
  } catch {
    byId("trouble").textContent = "This page is out of date. Please load it again.";
  }
}
document.addEventListener("visibilitychange", () => { if (!document.hidden) catchUp(); });
window.addEventListener("pageshow", (event) => { if (event.persisted) catchUp(); });

refresh();
