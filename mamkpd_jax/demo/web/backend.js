// Computes the answers to the page in the browser: nothing leaves it. demo/page/backend.js asks a server instead.

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
 * Loads the runtime, a model and the detector, and runs each once: the first picture does not wait for that.
 *
 * @param options the model, the engine, a signal to abort by, and `report`: it gets the name of each long step, and
 *     null when the last one is over.
 * @returns the engine that was prepared, and why it is not the wanted one.
 * @throws {Error} a file can't be loaded or run.
 */
export const prepare = (options) => inTurn({}, options);

/**
 * The poses of a picture.
 *
 * @param {File | ImageBitmap} picture a bitmap is used up.
 * @param boxes x, y, width, height of each; null: those that the detector finds.
 * @param options as those of `prepare`.
 * @throws {Error} the picture or a box can't be used, or a file can't be loaded or run.
 */
export async function poses(picture, boxes, options) {
  if (picture instanceof Blob) await checkPicture(picture);
  return inTurn({ picture, boxes }, options);
}

async function inTurn(request, { model, engine, signal, report }) {
  const turn = last.then(() => {
    signal.throwIfAborted();
    return send({ ...request, model, engine, detector: settings.detector }, report);
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
  const script = URL.createObjectURL(
    new Blob([`import ${JSON.stringify(address("worker.js"))};`], { type: "text/javascript" }),
  );
  const started = new Worker(script, { type: "module" });
  started.addEventListener("message", ({ data }) => {
    if (data.answer) pending.resolve(data.answer);
    else if (data.error) pending.reject(new Error(data.error));
    else pending.report(data.stage);
  });
  started.addEventListener("error", () => {
    URL.revokeObjectURL(script);
    started.terminate();
    worker = null;
    pending.reject(new Error(`worker.js failed. ${REMEDY}`));
  });
  return started;
}
