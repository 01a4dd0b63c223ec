// Boxes that follow poses from frame to frame: the rule of Tracker.boxes in mamkpd_jax/inference/tracking.py.

import { seen } from "./drawing.js";

const MIN_JOINTS = 3;
const GROWTH = 1.3; // of the box around the joints, beyond which heads and feet reach

/** Boxes x, y, width, height around the poses' joints, except those that have left the picture. */
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

/** The lower end and the length of places' extent, grown from its middle. */
function extentOf(places) {
  const [low, high] = [Math.min(...places), Math.max(...places)];
  const length = (high - low) * GROWTH;
  return [(low + high - length) / 2, length];
}
