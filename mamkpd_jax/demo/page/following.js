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
    const sure = [...keypoints.keys()].filter((i) => isSeen(keypoints[i]) && isSeen(start.keypoints[i]));
    if (!sure.length) return [];
    const moved = (axis) => median(sure.map((i) => keypoints[i][axis] - start.keypoints[i][axis]));
    const [x, y, w, h] = [start.box[0] + moved(0), start.box[1] + moved(1), ...start.box.slice(2)];
    const inside = x < width && y < height && x + w > 0 && y + h > 0;
    return inside ? [{ start, box: [x, y, w, h] }] : [];
  });
}

function median(values) {
  const sorted = [...values].sort((a, b) => a - b);
  return (sorted[(sorted.length - 1) >> 1] + sorted[sorted.length >> 1]) / 2;
}
