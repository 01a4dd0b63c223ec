// The boxes: detected, typed, or drawn on the picture.

const at = (id) => document.getElementById(id);

let size = null; // the picture's width and height in pixels
let drawn = false; // whether the user made the boxes, not the detector
let corner = null; // where the drag began
let changed; // called after each change, with the box that is being drawn or null
let asked; // called when the user asks for the joints in the boxes

/** Connects the boxes' controls with the page. */
export function listen(functions) {
  ({ changed, asked } = functions);
}

/** Removes all boxes, and allows new ones in a picture of this size; null: there is no picture. */
export function reset(pictureSize) {
  size = pictureSize;
  drawn = false;
  corner = null;
  at("boxes").replaceChildren();
  for (const id of ["add", "whole", "find"]) at(id).disabled = !size;
}

/** Shows detected boxes, unless the user has made some. */
export function propose(boxes) {
  if (ownBoxes()) return;
  drawn = false;
  at("boxes").replaceChildren();
  for (const box of boxes) addBox(box);
}

/** The usable boxes as x, y, width, height in pixels. */
export function boxes() {
  return [...document.querySelectorAll("#boxes fieldset")]
    .map((row) => [...row.querySelectorAll("input")].map((input) => input.valueAsNumber))
    .filter((box) => box.every(Number.isFinite) && box[2] > 0 && box[3] > 0);
}

/** The user's boxes; null: there are none. */
export const ownBoxes = () => (drawn && boxes().length ? boxes() : null);

// ---- typed

function addBox(box) {
  const row = at("box").content.cloneNode(true).firstElementChild;
  row.querySelectorAll("input").forEach((input, i) => {
    input.value = Math.round(box[i] * 10) / 10;
    input.addEventListener("input", () => {
      drawn = true;
      changed();
    });
  });
  row.querySelector("button").addEventListener("click", () => {
    drawn = true;
    row.remove();
    number();
    changed();
    at("add").focus();
  });
  at("boxes").append(row);
  number();
  return row;
}

function number() {
  document.querySelectorAll("#boxes fieldset").forEach((row, i) => {
    row.querySelector("legend").textContent = `Box ${i + 1}`;
    row.querySelector("button").setAttribute("aria-label", `Remove box ${i + 1}`);
  });
}

/** Removes detected boxes before the user's first box. */
function discardDetected() {
  if (!drawn) at("boxes").replaceChildren();
  drawn = true;
}

at("add").addEventListener("click", () => {
  discardDetected();
  const box = [size.width / 4, size.height / 4, size.width / 2, size.height / 2];
  addBox(box).querySelector("input").focus();
  changed();
});
at("whole").addEventListener("click", () => {
  at("boxes").replaceChildren();
  addBox([0, 0, size.width, size.height]);
  drawn = false;
  asked();
});
at("form").addEventListener("submit", (event) => {
  event.preventDefault();
  asked();
});

// ---- drawn

function point(event) {
  const area = at("overlay").getBoundingClientRect();
  const [x, y] = [(event.clientX - area.left) / area.width, (event.clientY - area.top) / area.height];
  return [Math.min(1, Math.max(0, x)) * size.width, Math.min(1, Math.max(0, y)) * size.height];
}

function dragged(event) {
  const [x, y] = point(event);
  return [Math.min(x, corner[0]), Math.min(y, corner[1]), Math.abs(x - corner[0]), Math.abs(y - corner[1])];
}

at("overlay").addEventListener("pointerdown", (event) => {
  if (event.button !== 0 || !size) return;
  event.preventDefault();
  at("overlay").setPointerCapture(event.pointerId);
  corner = point(event);
});
at("overlay").addEventListener("pointermove", (event) => {
  if (corner) changed(dragged(event));
});
at("overlay").addEventListener("pointercancel", () => {
  corner = null;
  changed();
});
at("overlay").addEventListener("pointerup", (event) => {
  if (!corner) return;
  const box = dragged(event);
  corner = null;
  // A click is not a box.
  if (Math.min(box[2], box[3]) >= Math.max(size.width, size.height) / 100) {
    discardDetected();
    addBox(box);
    asked();
  }
  changed();
});
