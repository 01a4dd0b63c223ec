// NanoDet's input from a picture, and boxes from its outputs: the same as mamkpd_jax/inference/nanodet.py.

import { makeTaps, round, sample, setTaps } from "./sampling.js";

const ONE = 2048; // the weight 1: OpenCV's resize has 11-bit weights
const join = (above, near, below, far) => ((((above >> 4) * near) >> 16) + (((below >> 4) * far) >> 16) + 2) >> 2;

/**
 * The picture, scaled to fit, in the upper left of a grey square.
 *
 * @returns {{input: Float32Array, scale: number}} normalised BGR [3, side, side], and the scale factor.
 */
export function letterbox(picture, { side, grey, mean, std }) {
  const scale = Math.min(side / picture.height, side / picture.width);
  const [width, height] = [picture.width, picture.height].map((length) => Math.max(1, Math.trunc(length * scale)));
  const bytes = new Uint8Array(height * width * 3);
  sample(picture, tapsOf(picture.width, width), tapsOf(picture.height, height), join, bytes);
  const input = new Float32Array(3 * side * side);
  for (let plane = 0; plane < 3; plane++) {
    const values = Float32Array.from({ length: 256 }, (_, byte) => Math.fround(byte - mean[plane]) / std[plane]);
    const target = input.subarray(plane * side * side, (plane + 1) * side * side).fill(values[grey]);
    for (let y = 0; y < height; y++) {
      for (let x = 0; x < width; x++) target[y * side + x] = values[bytes[(y * width + x) * 3 + 2 - plane]];
    }
  }
  return { input, scale };
}

/** The taps of pixels whose centres have half-integer coordinates. */
function tapsOf(from, to) {
  const taps = makeTaps(to);
  for (let i = 0; i < to; i++) {
    const place = Math.fround(Math.min(Math.max(((i + 0.5) * from) / to - 0.5, 0), from - 1));
    const at = Math.floor(place);
    setTaps(taps, i, at, round((place - at) * ONE), ONE, from);
  }
  return taps;
}

/**
 * The boxes x, y, width, height of these classes in pixels of the picture, best first.
 *
 * @param {Float32Array[]} outputs class scores [n, classes] of each stride, then each stride's distances [n, 4 * bins].
 */
export function boxesOf(outputs, detector, classes, { width, height }, scale) {
  const found = [];
  detector.strides.forEach((stride, level) => {
    const side = detector.side / stride;
    const [scores, distances] = [outputs[level], outputs[detector.strides.length + level]];
    const n = scores.length / side ** 2;
    for (let cell = 0; cell < side ** 2; cell++) {
      const score = Math.max(...classes.map((label) => scores[cell * n + label]));
      if (score < detector.threshold) continue;
      const [left, top, right, bottom] = meansOf(distances.subarray(cell * 4 * detector.bins), detector.bins);
      const [x, y] = [(cell % side) + 0.5, Math.floor(cell / side) + 0.5];
      const corners = [x - left, y - top, x + right, y + bottom].map((place) => (place * stride) / scale);
      const [x1, y1, x2, y2] = corners.map((place, i) => Math.min(Math.max(place, 0), i % 2 ? height : width));
      if (x2 > x1 && y2 > y1) found.push({ box: [x1, y1, x2 - x1, y2 - y1], score }); // the padding gives boxes too
    }
  });
  return suppress(found, detector.nms_iou).map(({ box }) => box);
}

/** The sides' distances from a cell's centre, in strides: means of distributions over `bins` values, as logits. */
function meansOf(logits, bins) {
  return [0, 1, 2, 3].map((edge) => {
    let [sum, total] = [0, 0];
    for (let bin = 0; bin < bins; bin++) {
      const weight = Math.exp(logits[edge * bins + bin]);
      sum += weight * bin;
      total += weight;
    }
    return sum / total;
  });
}

/** Non-maximum suppression: leaves out boxes that overlap a better one. */
function suppress(found, iou) {
  const kept = [];
  for (const candidate of found.sort((a, b) => b.score - a.score)) {
    if (kept.every(({ box }) => overlap(box, candidate.box) <= iou)) kept.push(candidate);
  }
  return kept;
}

/** The intersection over union (IoU) of two boxes. */
function overlap(a, b) {
  const sides = [0, 1].map((i) => Math.min(a[i] + a[i + 2], b[i] + b[i + 2]) - Math.max(a[i], b[i]));
  const both = Math.max(sides[0], 0) * Math.max(sides[1], 0);
  return both / (a[2] * a[3] + b[2] * b[3] - both);
}
