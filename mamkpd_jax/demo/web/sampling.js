// Bilinear sampling of bytes, rounded as in OpenCV, so that crops equal Predictor's.

/** The nearest integer; halves are rounded to even. */
export function round(value) {
  const up = Math.round(value);
  return up - value === 0.5 && up % 2 ? up - 1 : up;
}

/**
 * Arrays for the two pixels and their weights along one axis, for each of n sampled coordinates.
 * A pixel outside the picture has the weight 0.
 */
export function makeTaps(n) {
  return { first: new Int32Array(n), second: new Int32Array(n), near: new Int32Array(n), far: new Int32Array(n) };
}

/** Sets the taps at index i: the pixels `at` and `at + 1` of `size`, with the weights `one - far` and `far`. */
export function setTaps(taps, i, at, far, one, size) {
  const inside = (pixel) => pixel >= 0 && pixel < size;
  taps.first[i] = Math.min(Math.max(at, 0), size - 1);
  taps.second[i] = Math.min(Math.max(at + 1, 0), size - 1);
  taps.near[i] = inside(at) ? one - far : 0;
  taps.far[i] = inside(at + 1) ? far : 0;
}

/**
 * Samples an RGBA picture at the crossings of columns and rows.
 *
 * @param {{data: Uint8ClampedArray, width: number}} picture
 * @param join combines the sums of the upper and lower row, with those rows' weights, into a byte.
 * @param {Uint8Array} target gets RGB bytes [rows, columns, 3].
 */
export function sample({ data, width }, columns, rows, join, target) {
  let out = 0;
  for (let y = 0; y < rows.first.length; y++) {
    const [upper, lower] = [rows.first[y] * width, rows.second[y] * width];
    const [near, far] = [rows.near[y], rows.far[y]];
    for (let x = 0; x < columns.first.length; x++) {
      const [left, right] = [columns.first[x], columns.second[x]];
      const [u, v] = [columns.near[x], columns.far[x]];
      for (let c = 0; c < 3; c++) {
        const above = data[4 * (upper + left) + c] * u + data[4 * (upper + right) + c] * v;
        const below = data[4 * (lower + left) + c] * u + data[4 * (lower + right) + c] * v;
        target[out++] = join(above, near, below, far);
      }
    }
  }
}
