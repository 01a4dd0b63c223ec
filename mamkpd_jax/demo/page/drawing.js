// Poses and boxes as shapes over the picture.

const SVG = "http://www.w3.org/2000/svg";

/** Whether a keypoint x, y, score counts as found. */
export const seen = (keypoint, model) => keypoint[2] > model.keypoint_threshold;

/** Draws poses and boxes, and removes earlier ones. */
export function draw(overlay, { size, model, poses, boxes }) {
  overlay.setAttribute("viewBox", `0 0 ${size.width} ${size.height}`);
  overlay.replaceChildren(...poses.flatMap((pose) => shapesOf(pose, size, model)), ...boxes.flatMap(outline));
}

function shapesOf({ keypoints }, size, model) {
  const sides = model.sides.map((side) => side || "middle");
  const lines = model.edges
    .filter(([a, b]) => seen(keypoints[a], model) && seen(keypoints[b], model))
    .map(([a, b]) => {
      const [[x1, y1], [x2, y2]] = [keypoints[a], keypoints[b]];
      return shape("line", { x1, y1, x2, y2, class: sides[a] === sides[b] ? sides[a] : "middle" });
    });
  const r = Math.max(size.width, size.height) / 160;
  const circles = keypoints.flatMap((keypoint, i) =>
    seen(keypoint, model) ? [shape("circle", { cx: keypoint[0], cy: keypoint[1], r, class: sides[i] })] : [],
  );
  return [...lines, ...circles];
}

function outline([x, y, width, height]) {
  return ["box under", "box"].map((style) => shape("rect", { x, y, width, height, class: style }));
}

function shape(name, attributes) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  return element;
}
