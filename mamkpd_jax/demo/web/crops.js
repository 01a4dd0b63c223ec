// Cuts the crops of boxes for a pose model, and maps its points back to the picture.

import { makeTaps, round, sample, setTaps } from "./sampling.js";

const PARTS = 32; // per pixel: OpenCV's warpAffine rounds coordinates to these
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
  const [stepX, stepY] = scale.map((factor) => 1 / factor);
  const [startX, startY] = [-stepX * shift[0], -stepY * shift[1]];
  // OpenCV rounds twice along a row.
  const across = tapsOf(columns, (x) => round(stepX * x * 1024) + round(startX * 1024), picture.width);
  const down = tapsOf(rows, (y) => round((stepY * y + startY) * 1024), picture.height);
  sample(picture, across, down, join, target);
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
