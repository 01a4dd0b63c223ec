// The page: takes a picture or the camera's frames, asks the backend, and shows the answer.

import * as backend from "./backend.js";
import { boxes, listen, ownBoxes, propose, reset } from "./boxes.js";
import { nextFrame, openCamera } from "./camera.js";
import { draw, seen } from "./drawing.js";
import { follow } from "./following.js";
import { nameJoints, tabulate } from "./table.js";

const ENGINES = { wasm: "WebAssembly", webgpu: "WebGPU" };
const DETECT_EVERY = 5; // frames of the camera; in between, boxes follow the poses
const at = (id) => document.getElementById(id);

let about; // what the backend offers
let model; // the chosen one of its models
let file = null; // the picture
let size = null; // its width and height in pixels, or the camera's
let poses = []; // the last answer
let asking = null; // aborts the request or the camera under way
let message = null; // the status line when no long step is under way; null: the text in index.html

// ---- starting

const started = backend.about().then((answer) => {
  about = answer;
  at("model").replaceChildren(...about.models.map(({ name }) => new Option(name)));
  at("engine").replaceChildren(...about.engines.map((name) => new Option(ENGINES[name], name)));
  for (const id of ["model", "engine"]) at(id).parentElement.hidden = at(id).length < 2; // there is no choice
  at("choices").hidden = !about.live;
  at("about").hidden = false;
  takeModel();
  if (!message) say("");
  prepare();
});
started.catch((error) => say(error.message, true));

function takeModel() {
  model = about.models[at("model").selectedIndex];
  at("name").textContent = model.name;
  nameJoints(model);
}

at("model").addEventListener("change", () => {
  takeModel();
  again();
});
at("engine").addEventListener("change", again);

/** Applies a new choice: finds the joints again, or prepares for a picture. The camera applies it in its next frame. */
function again() {
  showPoses([]);
  at("speed").textContent = "";
  if (file) ask(ownBoxes());
  else if (!cameraIsOn()) {
    say("");
    prepare();
  }
}

async function prepare() {
  const signal = begin();
  try {
    const answer = await backend.prepare(options(signal));
    if (answer.failed) say(note(answer));
  } catch (error) {
    if (!signal.aborted) say(error.message, true);
  }
}

// ---- choosing a picture

at("file").addEventListener("change", () => {
  if (at("file").files.length) choose(at("file").files[0]);
});
for (const name of ["dragover", "dragleave", "drop"]) {
  document.addEventListener(name, (event) => {
    event.preventDefault();
    at("drop").classList.toggle("over", name === "dragover");
    if (name === "drop") take(event.dataTransfer);
  });
}

function take({ files, items }) {
  if (!files.length || items[0].webkitGetAsEntry()?.isDirectory) {
    say(`${files.length ? "A folder" : "Something other than a file"} was dropped. Drop the file of a picture.`, true);
    return;
  }
  at("file").files = files; // it shows the file's name
  choose(files[0]);
}

async function choose(chosen) {
  clear();
  try {
    await started; // a user can be quicker than the backend
  } catch {
    return; // its message is on the page
  }
  if (chosen.size > about.max_bytes) {
    say(`The file is larger than ${about.max_bytes / 2 ** 20} MiB. Choose a smaller one.`, true);
    return;
  }
  file = chosen;
  ask(null);
}

function clear() {
  asking?.abort();
  file = size = null;
  reset(null);
  showPoses([]);
  at("speed").textContent = "";
  at("stage").hidden = true;
}

// ---- asking the backend

async function ask(wanted) {
  const signal = begin();
  const picture = file;
  say("Looking for keypoints …");
  try {
    const answer = await backend.poses(picture, wanted, options(signal));
    showPicture(answer, picture);
    propose(answer.poses.map((pose) => pose.box));
    showPoses(answer.poses);
    tabulate(poses, model);
    showSpeed(answer);
    say(`${note(answer)} ${summary(answer.left_out)}`.trim());
  } catch (error) {
    if (!signal.aborted) say(error.message, true);
  }
}

/** Aborts the request under way, and returns the signal of a new one. */
function begin() {
  asking?.abort();
  asking = new AbortController();
  return asking.signal;
}

const options = (signal) => ({ model, engine: at("engine").value, signal, report });

/** Shows the engine that was used, and returns why if it is not the chosen one. */
function note({ engine, failed }) {
  if (failed) at("engine").value = engine;
  return failed ?? "";
}

function summary(leftOut) {
  if (!poses.length) {
    const next = about.models.length > 1 ? "Choose another model, draw" : "Draw";
    return `Nothing was found in the picture. ${next} a box, or type it.`;
  }
  const found = poses.filter(({ keypoints }) => keypoints.some((keypoint) => seen(keypoint, model))).length;
  const where = poses.length === 1 ? "1 box" : `${poses.length} boxes`;
  if (!found) return `No keypoint in ${where} has a score above ${model.keypoint_threshold}.`;
  const more = leftOut ? ` Another ${leftOut} with lower scores were left out: draw boxes around them.` : "";
  return `Found keypoints in ${found < poses.length ? `${found} of ` : ""}${where}.${more}`;
}

function say(text, bad = false) {
  message = [text, bad];
  show(text, bad);
}

/** Shows a long step in the status line; null: it is over, and the message returns. */
function report(stage) {
  show(...(stage === null ? message : [stage, false]));
}

function show(text, bad) {
  at("message").textContent = text;
  at("message").classList.toggle("bad", bad);
}

listen({
  changed: (box) => redraw(box),
  asked: () => {
    const given = boxes();
    if (given.length) ask(given);
    else say("There is no box. Add one, or take the whole picture.", true);
  },
});

// ---- showing the answer

function showPicture(answer, picture) {
  if (size) return;
  URL.revokeObjectURL(at("picture").src);
  at("picture").src = answer.picture ?? URL.createObjectURL(picture); // a JPEG where browsers can't show the file
  showStage({ width: answer.width, height: answer.height }, "picture");
  reset(size);
}

function showStage(shownSize, kind) {
  size = shownSize;
  for (const id of ["picture", "video"]) at(id).hidden = id !== kind;
  at("stage").classList.toggle("live", kind === "video");
  at("stage").style.maxWidth = `calc(75vh * ${size.width / size.height})`;
  at("stage").hidden = false;
}

function showPoses(found) {
  poses = found;
  if (!poses.length) tabulate([], model);
  redraw();
}

function redraw(extra = null) {
  if (size) draw(at("overlay"), { size, model, poses, boxes: [...boxes(), ...(extra ? [extra] : [])] });
}

function showSpeed({ times, engine, threads }, frames_s = null) {
  if (!times) return;
  const [detector, pose] = [times.detectorMs, times.poseMs].map((ms) => ms?.toFixed(ms < 10 ? 1 : 0));
  const parts = [
    frames_s && `${frames_s.toFixed(1)} frames a second`,
    detector && `detector ${detector} ms`,
    pose && `keypoints ${pose} ms per person or animal`,
    `${ENGINES[engine]}, ${threads === 1 ? "1 thread" : `${threads} threads`}`,
  ];
  at("speed").textContent = parts.filter(Boolean).join(" · ");
}

// ---- the camera

at("camera").addEventListener("click", () => {
  if (cameraIsOn()) stopCamera();
  else startCamera();
});

const cameraIsOn = () => at("camera").classList.contains("on");

async function startCamera() {
  clear();
  at("file").value = "";
  const signal = begin();
  signal.addEventListener("abort", () => showCameraButton(false));
  showCameraButton(true);
  say("Waiting for the camera …");
  try {
    await openCamera(at("video"), signal, () => stopCamera("The camera was disconnected."));
    await showCamera(signal);
  } catch (error) {
    if (!signal.aborted) stopCamera(error.message, true);
  }
}

function stopCamera(message = "The camera is off.", bad = false) {
  clear();
  say(message, bad);
}

function showCameraButton(on) {
  at("camera").classList.toggle("on", on);
  at("camera").textContent = on ? "Stop the camera" : "Start the camera";
}

/** Draws the joints over the video, frame after frame. */
async function showCamera(signal) {
  let [before, meanMs, detectorMs, undetected] = [null, null, null, 0];
  for (;;) {
    const frame = await nextFrame(at("video"));
    signal.throwIfAborted();
    const { width, height } = frame;
    const asked = model;
    const followed = ++undetected < DETECT_EVERY && model.classes ? follow(poses, model, frame) : [];
    if (!followed.length) undetected = 0;
    const given = followed.length ? followed.map(({ box }) => box) : null;
    const answer = await backend.poses(frame, given, options(signal));
    if (asked !== model) continue;
    if (size?.width !== width || size?.height !== height) showStage({ width, height }, "video");
    showPoses(answer.poses.map((pose, i) => ({ ...pose, start: followed[i]?.start ?? pose })));
    if (before === null || answer.failed) say(`${note(answer)} The camera is on.`.trim());
    const now = performance.now();
    if (before !== null) meanMs = 0.9 * (meanMs ?? now - before) + 0.1 * (now - before);
    if (followed.length) answer.times.detectorMs = detectorMs; // that of its last run
    showSpeed(answer, meanMs && 1000 / meanMs);
    [before, detectorMs] = [now, answer.times.detectorMs];
  }
}
