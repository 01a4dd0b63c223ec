// The table of one pose: its joints with scores and, if the backend returns them, heatmaps.

import { seen } from "./drawing.js";

const at = (id) => document.getElementById(id);
const readable = (name) => name.replaceAll("_", " ");

let shown = { poses: [], model: null };

/** Shows the names of a model's joints, and its threshold. */
export function nameJoints(model) {
  at("threshold").textContent = model.keypoint_threshold;
  at("joint").replaceChildren(new Option("all keypoints"), ...model.keypoints.map((name) => new Option(readable(name))));
}

/** Shows the first of a picture's poses; the others can be chosen. */
export function tabulate(poses, model) {
  shown = { poses, model };
  at("pose").replaceChildren(...poses.map((_, i) => new Option(`${i + 1}`, i)));
  at("result").hidden = poses.length === 0;
  if (poses.length) show();
}

function show() {
  const { poses, model } = shown;
  const pose = poses[at("pose").value];
  at("joints").replaceChildren(
    ...pose.keypoints.map((keypoint, i) => {
      const row = document.createElement("tr");
      const head = document.createElement("th");
      head.scope = "row";
      head.textContent = readable(model.keypoints[i]);
      const [x, y, score] = keypoint;
      row.append(head, ...[x.toFixed(1), y.toFixed(1), score.toFixed(2)].map(cell));
      row.classList.toggle("unseen", !seen(keypoint, model));
      return row;
    }),
  );
  at("heatmaps").hidden = !pose.heatmaps;
  if (!pose.heatmaps) return;
  at("heatmap").src = pose.heatmaps[at("joint").selectedIndex];
  const where = `${at("joint").value} in box ${Number(at("pose").value) + 1}`;
  at("heatmap").alt = `Heatmap of ${where}: bright where the keypoint is likely`;
}

function cell(text) {
  const td = document.createElement("td");
  td.textContent = text;
  return td;
}

at("pose").addEventListener("change", show);
at("joint").addEventListener("change", show);
