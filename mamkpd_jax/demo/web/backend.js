// Computes the answers to the page in the browser: nothing leaves it. demo/page/backend.js asks a server instead.

import { REMEDY, address, load } from "./files.js";
import { checkPicture } from "./pictures.js";

const MAX_BYTES = 100 * 2 ** 20;
const NO_WASM = "This browser has no WebAssembly, or it is switched off. Switch it on, or use another browser.";

let settings; // models.json
let worker = null;
let last = Promise.resolve(); // the newest request, answered or not: the worker gets one at a time
let pending = null; // the callbacks for the worker's messages

/**
 * The models, and what this backend supports.
 *
 * @throws {Error} this browser can't run models, or models.json can't be loaded.
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
 * Loads the runtime, a model and the detector, and runs each once, so that the first picture need not wait.
 *
 * @param options the model, the engine, a signal that aborts the request, and `report`: it is called with the name of
 *     each long step, and with null when the last one is over.
 * @returns the engine that was prepared, and why it is not the chosen one.
 * @throws {Error} a file can't be loaded or run.
 */
export const prepare = (options) => inTurn({}, options);

/**
 * The poses of a picture.
 *
 * @param {File | ImageBitmap} picture a bitmap can't be used again.
 * @param boxes x, y, width, height of each; null: those that the detector finds.
 * @param options as in `prepare`.
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
  last = turn.catch(() => {}); // the next request runs even if this one fails
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

/** Starts the worker from a blob: unlike one from a file, it inherits the page's Content-Security-Policy. */
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
