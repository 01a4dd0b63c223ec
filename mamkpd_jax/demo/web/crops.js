// Cuts the crops of boxes for a pose model, and maps its points back to the picture.

import { makeTaps, round, sample, setTaps } from "./sampling.js";

const PARTS = 32; // per pixel: OpenCV's warpAffine rounds coordinates to these
const MAX_SAMPLES = 8; // along each side of a crop's pixel
const join = (above, near, below, far) => (above * near + below * far + 512) >> 10;

/**
 * The transform from the picture to the crop of a box x, y, width, height: x becomes `scale[0] * x + shift[0]`, and y
 * likewise. The crop is padded, and one side grows to the model's aspect ratio.
 */
export function placeCrop([x, y, width, height], { input_hw: [rows, columns], box_padding, udp }) {
  const extent = [columns - Number(udp), rows - Number(udp)];
  const [padded, aspect] = [[width * box_padding, height * box_padding], columns / rows];
  const size = [Math.max(padded[0], padded[1] * aspect), Math.max(padded[1], padded[0] / aspect)];
  const scale = extent.map((side, i) => side / size[i]);
  return { scale, shift: [extent[0] / 2 - scale[0] * (x + width / 2), extent[1] / 2 - scale[1] * (y + height / 2)] };
}

/** Writes the crop of a transform, black outside the picture, as RGB bytes [rows, columns, 3] to `target`. */
export function cutCrop(picture, { scale, shift }, [rows, columns], target) {
  // A picture that shrinks by about n gets n x n samples per pixel of the crop, and their mean.
  const n = Math.min(Math.max(round(1 / Math.sqrt(scale[0] * scale[1])), 1), MAX_SAMPLES);
  const [stepX, stepY] = scale.map((factor) => 1 / (n * factor));
  const [startX, startY] = [stepX, stepY].map((step, i) => -step * (n * shift[i] + (n - 1) / 2));
  // OpenCV rounds twice along a row.
  const across = tapsOf(n * columns, (x) => round(stepX * x * 1024) + round(startX * 1024), picture.width);
  const down = (row) => tapsOf(n, (y) => round((stepY * (n * row + y) + startY) * 1024), picture.height);
  const samples = new Uint8Array(3 * n * n * columns);
  for (let row = 0; row < rows; row++) {
    sample(picture, across, down(row), join, samples);
    average(samples, n, target.subarray(3 * columns * row, 3 * columns * (row + 1)));
  }
}

/** Writes the means of blocks of n x n RGB pixels to a row, rounded as in OpenCV's `resize`. */
function average(samples, n, target) {
  const sums = new Int32Array(target.length);
  for (let from = 0; from < samples.length; ) {
    for (let x = 0; x < sums.length; x += 3) {
      for (let i = 0; i < n; i++) {
        for (let c = 0; c < 3; c++) sums[x + c] += samples[from++];
      }
    }
  }
  target.set(sums.map(n === 2 ? (sum) => (sum + 2) >> 2 : (sum) => round(sum / (n * n))));
}

/** The taps at coordinates in 1024ths of a pixel. */
function tapsOf(n, placeOf, size) {
  const taps = makeTaps(n);
  for (let i = 0; i < n; i++) {
    const at = (placeOf(i) + 512 / PARTS) >> 5;
    setTaps(taps, i, at >> 5, at & (PARTS - 1), PARTS, size);
  }
  return taps;
}

/** A point x, y of a crop in pixels of the picture. */
export function toPicture([x, y], { scale, shift }) {
  return [(x - shift[0]) / scale[0], (y - shift[1]) / scale[1]];
}
