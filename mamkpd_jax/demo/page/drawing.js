// Poses and boxes as shapes over the picture.

const SVG = "http://www.w3.org/2000/svg";

/** Whether a joint x, y, score counts as found. */
export const seen = (joint, model) => joint[2] > model.joint_threshold;

/** Replaces what is drawn. */
export function draw(overlay, { size, model, poses, boxes }) {
  overlay.setAttribute("viewBox", `0 0 ${size.width} ${size.height}`);
  overlay.replaceChildren(...poses.flatMap((pose) => shapesOf(pose, size, model)), ...boxes.flatMap(outline));
}

function shapesOf({ joints }, size, model) {
  const sides = model.sides.map((side) => side || "middle");
  const lines = model.edges
    .filter(([a, b]) => seen(joints[a], model) && seen(joints[b], model))
    .map(([a, b]) => {
      const [[x1, y1], [x2, y2]] = [joints[a], joints[b]];
      return shape("line", { x1, y1, x2, y2, class: sides[a] === sides[b] ? sides[a] : "middle" });
    });
  const r = Math.max(size.width, size.height) / 160;
  const circles = joints.flatMap((joint, i) =>
    seen(joint, model) ? [shape("circle", { cx: joint[0], cy: joint[1], r, class: sides[i] })] : [],
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
