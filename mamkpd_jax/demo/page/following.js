// Boxes that follow poses from frame to frame: the rule of Tracker.boxes in mamkpd_jax/inference/tracking.py.

import { seen } from "./drawing.js";

const MIN_JOINTS = 3;
const GROWTH = 1.3; // enlarges the box around the joints, because heads and feet extend beyond them

/** Boxes x, y, width, height around the poses' joints, without those outside the picture. */
export function boxesAround(poses, model, { width, height }) {
  return poses
    .map(({ keypoints }) => keypoints.filter((keypoint) => seen(keypoint, model)))
    .filter((keypoints) => keypoints.length >= MIN_JOINTS)
    .map((keypoints) => {
      const [[x, w], [y, h]] = [0, 1].map((axis) => extentOf(keypoints.map((keypoint) => keypoint[axis])));
      return [x, y, w, h];
    })
    .filter(([x, y, w, h]) => w > 0 && h > 0 && x < width && y < height && x + w > 0 && y + h > 0);
}

/** The start and length of the interval of some coordinates, enlarged about its centre. */
function extentOf(coordinates) {
  const [low, high] = [Math.min(...coordinates), Math.max(...coordinates)];
  const length = (high - low) * GROWTH;
  return [(low + high - length) / 2, length];
}
