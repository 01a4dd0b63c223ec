// Runs the models in a worker, so that the page stays responsive. One request at a time: see backend.js.

import { cutCrop, placeCrop, toPicture } from "./crops.js";
import { boxesOf, letterbox } from "./detector.js";
import { REMEDY, address, load } from "./files.js";
import { pixelsOf } from "./pictures.js";

const MAX_BOXES = 32;
// The script of each engine, and the WebAssembly that it loads.
const RUNTIMES = {
  wasm: ["ort/ort.wasm.min.mjs", "ort/ort-wasm-simd-threaded.wasm"],
  webgpu: ["ort/ort.webgpu.min.mjs", "ort/ort-wasm-simd-threaded.asyncify.wasm"],
};
const threads = self.crossOriginIsolated ? Math.min(navigator.hardwareConcurrency, 4) : 1;
const loaded = new Map(); // promises of runtimes and sessions, by name

self.addEventListener("message", async ({ data }) => {
  try {
    self.postMessage({ answer: await answer(data, (stage) => self.postMessage({ stage })) });
  } catch (error) {
    self.postMessage({ error: error.message });
  }
});

/** Loads what a request needs. If it has a picture, returns its poses, their times, and what ran them. */
async function answer({ picture, engine, ...request }, report) {
  const pixels = picture && (await pixelsOf(picture));
  if (pixels) checkBoxes(request.boxes ?? [], pixels);
  const answerBy = async (engine) => {
    const sessions = await sessionsOf(engine, request, report);
    return { ...(pixels && (await find(sessions, pixels, request))), engine, threads };
  };
  try {
    return await answerBy(engine);
  } catch (error) {
    if (engine !== "webgpu") throw error;
    return { ...(await answerBy("wasm")), failed: `WebGPU failed (${firstLine(error)}): WebAssembly is used.` };
  }
}

function checkBoxes(boxes, { width, height }) {
  if (boxes.length > MAX_BOXES) throw new Error(`There are ${boxes.length} boxes. Keep at most ${MAX_BOXES}.`);
  const outside = boxes.findIndex(([x, y, w, h]) => x >= width || y >= height || x + w <= 0 || y + h <= 0);
  if (outside < 0) return;
  throw new Error(`Box ${outside + 1} lies outside the picture of ${width}x${height} pixels. Move it, or remove it.`);
}

async function find(sessions, pixels, { boxes, model, detector }) {
  let found = boxes ?? [[0, 0, pixels.width, pixels.height]];
  let detectorMs = null;
  if (!boxes && model.classes) {
    const start = performance.now();
    found = await detect(sessions.detector, pixels, detector, model.classes);
    detectorMs = performance.now() - start;
  }
  const best = found.slice(0, MAX_BOXES);
  const start = performance.now();
  const poses = best.length ? await posesIn(sessions.model, pixels, best, model) : [];
  return {
    width: pixels.width,
    height: pixels.height,
    left_out: found.length - best.length,
    poses,
    times: { detectorMs, poseMs: best.length ? (performance.now() - start) / best.length : null },
  };
}

async function detect({ ort, session }, pixels, detector, classes) {
  const { input, scale } = letterbox(pixels, detector);
  const shape = [1, 3, detector.side, detector.side];
  const outputs = await session.run({ [session.inputNames[0]]: new ort.Tensor("float32", input, shape) });
  const inOrder = [...session.outputNames].sort().map((name) => outputs[name].data);
  return boxesOf(inOrder, detector, classes, pixels, scale);
}

async function posesIn({ ort, session }, pixels, boxes, model) {
  const size = model.input_hw[0] * model.input_hw[1] * 3;
  const crops = new Uint8Array(boxes.length * size);
  const places = boxes.map((box) => placeCrop(box, model));
  places.forEach((place, i) => {
    cutCrop(pixels, place, model.input_hw, crops.subarray(i * size, (i + 1) * size));
  });
  const image = new ort.Tensor("uint8", crops, [boxes.length, ...model.input_hw, 3]);
  const { points, scores } = await session.run({ image });
  const n = model.keypoints.length;
  return boxes.map((box, i) => ({
    box,
    keypoints: model.keypoints.map((_, j) => {
      const at = i * n + j;
      return [...toPicture(points.data.subarray(2 * at, 2 * at + 2), places[i]), scores.data[at]];
    }),
  }));
}

// ---- loading

/** The sessions of a model and, unless it takes whole pictures, of the detector. */
async function sessionsOf(engine, { model, detector }, report) {
  return {
    model: await sessionOf(engine, model.file, report),
    detector: model.classes && (await sessionOf(engine, detector.file, report)),
  };
}

/** An engine's runtime and a file's session. It has run once, so that displayed times exclude compilation. */
function sessionOf(engine, file, report) {
  return once(`${engine} ${file}`, async () => {
    try {
      const ort = await once(engine, () => loadRuntime(engine, report));
      report(`Loading ${file} …`);
      const content = await (await load(file)).arrayBuffer();
      return { ort, session: await create(ort, engine, file, content) };
    } finally {
      report(null);
    }
  });
}

const firstLine = (error) => String(error.message ?? error).split("\n")[0];

function once(name, load) {
  if (!loaded.has(name)) {
    const promise = load();
    loaded.set(name, promise);
    promise.catch(() => loaded.delete(name)); // the next request tries again
  }
  return loaded.get(name);
}

async function loadRuntime(engine, report) {
  report("Loading the runtime …");
  const [script, binary] = RUNTIMES[engine];
  await load(binary, { method: "HEAD" }); // the runtime's error for a missing file does not name it
  const ort = await import(address(script)).catch(() => {
    throw new Error(`${script} can't be loaded. ${REMEDY}`);
  });
  Object.assign(ort.env.wasm, { numThreads: threads, wasmPaths: address("ort/") });
  ort.env.logLevel = "error";
  return ort;
}

async function create(ort, engine, file, content) {
  try {
    const session = await ort.InferenceSession.create(content, { executionProviders: [engine], logSeverityLevel: 3 });
    const [{ name, type, shape }] = session.inputMetadata;
    const sides = shape.map((side) => (typeof side === "number" ? side : 1)); // the batch size has a name
    const zeros = new (type === "uint8" ? Uint8Array : Float32Array)(sides.reduce((a, b) => a * b));
    await session.run({ [name]: new ort.Tensor(type, zeros, sides) });
    return session;
  } catch (error) {
    throw new Error(`${file} can't be run (${firstLine(error)}).`);
  }
}
