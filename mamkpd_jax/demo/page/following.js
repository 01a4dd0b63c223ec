// Boxes that follow poses from frame to frame: the rule of Tracker.boxes in mamkpd_jax/inference/tracking.py.

import { seen } from "./drawing.js";

/**
 * The boxes for the next frame: those of the last detection, moved by the median displacement of the keypoints since.
 *
 * @param poses each with `detected`, the same pose in the last frame with detected boxes.
 * @returns `detected` and the box x, y, width, height of each pose. Boxes outside the picture are left out.
 */
export function follow(poses, model, { width, height }) {
  const isSeen = (keypoint) => seen(keypoint, model);
  return poses.flatMap(({ keypoints, detected }) => {
    const starts = detected.keypoints;
    const moves = keypoints.flatMap(([x, y, score], i) =>
      isSeen([x, y, score]) && isSeen(starts[i]) ? [[x - starts[i][0], y - starts[i][1]]] : [],
    );
    if (!moves.length) return [];
    const [x, y] = [0, 1].map((axis) => detected.box[axis] + median(moves.map((move) => move[axis])));
    const [w, h] = detected.box.slice(2);
    const inside = x < width && y < height && x + w > 0 && y + h > 0;
    return inside ? [{ detected, box: [x, y, w, h] }] : [];
  });
}

function median(values) {
  const sorted = [...values].sort((a, b) => a - b);
  return (sorted[(sorted.length - 1) >> 1] + sorted[sorted.length >> 1]) / 2;
}
