// What the page asks, answered in the browser: nothing leaves it. demo/page/backend.js asks a server instead.

import { REMEDY, address, load } from "./files.js";
import { checkPicture } from "./pictures.js";

const MAX_BYTES = 100 * 2 ** 20;
const NO_WASM = "This browser has no WebAssembly, or it is switched off. Switch it on, or use another browser.";

let settings; // models.json
let worker = null;
let last = Promise.resolve(); // the newest request, answered or not: the worker gets one at a time
let pending = null; // what the worker's messages lead to

/**
 * What the page has to know of the models, and what it offers.
 *
 * @throws {Error} nothing can run here.
 */
export async function about() {
  if (typeof WebAssembly !== "object") throw new Error(NO_WASM);
  settings = await (await load("models.json")).json();
  return {
    models: settings.models,
    max_bytes: MAX_BYTES,
    engines: (await navigator.gpu?.requestAdapter().catch(() => null)) ? ["wasm", "webgpu"] : ["wasm"],
    live: true, // quick enough for a camera
  };
}

/**
 * The poses of a picture.
 *
 * @param {File | ImageBitmap} picture a bitmap is used up.
 * @param boxes x, y, width, height of each; null: those that the detector finds.
 * @param options the model, the engine, a signal to abort by, and `report`, which gets the name of each long step.
 * @throws {Error} the picture or a box can't be used, or a model can't be loaded.
 */
export async function poses(picture, boxes, { model, engine, signal, report }) {
  if (picture instanceof Blob) await checkPicture(picture);
  const request = { picture, boxes, model, engine, detector: settings.detector };
  const turn = last.then(() => {
    signal.throwIfAborted();
    return send(request, report);
  });
  last = turn.catch(() => {}); // the next one does not care how this one ends
  const answer = await turn;
  signal.throwIfAborted();
  return answer;
}

function send(request, report) {
  worker ??= startWorker();
  return new Promise((resolve, reject) => {
    pending = { resolve, reject, report };
    worker.postMessage(request, request.picture instanceof ImageBitmap ? [request.picture] : []);
  });
}

/** Starts the worker from a blob: it then has the page's Content-Security-Policy, which one from a file would not. */
function startWorker() {
  const script = `import ${JSON.stringify(address("worker.js"))};`;
  const started = new Worker(URL.createObjectURL(new Blob([script], { type: "text/javascript" })), { type: "module" });
  started.addEventListener("message", ({ data: { stage, answer, error } }) => {
    if (stage) pending.report(stage);
    else if (error) pending.reject(new Error(error));
    else pending.resolve(answer);
  });
  started.addEventListener("error", () => {
    worker = null;
    pending.reject(new Error(`worker.js failed. ${REMEDY}`));
  });
  return started;
}
