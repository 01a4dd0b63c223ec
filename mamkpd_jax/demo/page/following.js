// Boxes that follow poses from frame to frame: the rule of Tracker.boxes in mamkpd_jax/inference/tracking.py.

import { seen } from "./drawing.js";

/**
 * The boxes for the next frame: those of the last detection, moved by the median displacement of the keypoints since.
 *
 * @param poses each with `start`, the same pose in the last frame with detected boxes.
 * @returns `start` and the box x, y, width, height of each pose. A pose without sure keypoints is left out, and so is a
 *     box outside the picture.
 */
export function follow(poses, model, { width, height }) {
  const isSeen = (keypoint) => seen(keypoint, model);
  return poses.flatMap(({ keypoints, start }) => {
    const moves = keypoints.flatMap(([x, y, score], i) =>
      isSeen([x, y, score]) && isSeen(start.keypoints[i]) ? [[x - start.keypoints[i][0], y - start.keypoints[i][1]]] : [],
    );
    if (!moves.length) return [];
    const [x, y] = [0, 1].map((axis) => start.box[axis] + median(moves.map((move) => move[axis])));
    const [w, h] = start.box.slice(2);
    const inside = x < width && y < height && x + w > 0 && y + h > 0;
    return inside ? [{ start, box: [x, y, w, h] }] : [];
  });
}

function median(values) {
  const sorted = [...values].sort((a, b) => a - b);
  return (sorted[(sorted.length - 1) >> 1] + sorted[sorted.length >> 1]) / 2;
}
