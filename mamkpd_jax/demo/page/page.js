"use strict";

const SVG = "http://www.w3.org/2000/svg";
const SEEN = 0.2; // the score up to which a joint counts as not found
const at = (id) => document.getElementById(id);

let about; // what the server tells of the model
let file = null; // the picture
let size = null; // its width and height in pixels
let poses = []; // the server's last answer
let asking = null; // the request under way
let drawn = false; // whether the boxes are the person's own, not the proposed ones

const told = fetch("about").then((response) => response.json()).then((answer) => {
  about = answer;
  at("model").textContent = about.name;
  at("joint").replaceChildren(new Option("all joints"), ...about.joints.map((name) => new Option(readable(name))));
});

// ---- choosing a picture

at("file").addEventListener("change", () => {
  if (at("file").files.length) choose(at("file").files[0]);
});
for (const name of ["dragover", "dragleave", "drop"]) {
  document.addEventListener(name, (event) => {
    event.preventDefault();
    at("drop").classList.toggle("over", name === "dragover");
    if (name === "drop" && event.dataTransfer.files.length) choose(event.dataTransfer.files[0]);
  });
}

async function choose(chosen) {
  clear();
  await told; // a person can be quicker than the server
  if (chosen.size > about.max_bytes) {
    say(`The file is larger than ${about.max_bytes / 2 ** 20} MiB. Choose a smaller one.`, true);
    return;
  }
  file = chosen;
  ask(null);
}

function clear() {
  if (asking) asking.abort();
  file = size = null;
  poses = [];
  drawn = false;
  at("boxes").replaceChildren();
  at("stage").hidden = at("result").hidden = true;
  allow(false);
}

// ---- asking the server

async function ask(boxes) {
  if (asking) asking.abort();
  const request = (asking = new AbortController());
  const picture = file;
  say("Looking for joints …");
  try {
    const query = boxes ? `?boxes=${encodeURIComponent(JSON.stringify(boxes))}` : "";
    const response = await fetch(`poses${query}`, {
      method: "POST",
      headers: { "Content-Type": "application/octet-stream" },
      body: picture,
      signal: request.signal,
    });
    const answer = await response.json();
    if (!response.ok) throw new Error(answer.error);
    await show(answer, picture);
    const more = answer.left_out ? ` Another ${answer.left_out} with lower scores were left out: draw boxes around them.` : "";
    if (poses.length) say(`Found joints in ${poses.length === 1 ? "1 box" : `${poses.length} boxes`}.${more}`);
    else say("Nobody was found in the picture. Draw a box, or type it.");
  } catch (error) {
    if (error.name === "AbortError") return;
    say(error instanceof TypeError ? "The server can't be reached. Start it again, then retry." : error.message, true);
  }
}

function say(text, bad = false) {
  at("message").textContent = text;
  at("message").classList.toggle("bad", bad);
}

// ---- showing the answer

async function show(answer, picture) {
  if (!size) {
    URL.revokeObjectURL(at("picture").src);
    at("picture").src = answer.picture ?? URL.createObjectURL(picture); // a JPEG where browsers can't show the file
    size = { width: answer.width, height: answer.height };
    at("overlay").setAttribute("viewBox", `0 0 ${size.width} ${size.height}`);
    at("stage").style.maxWidth = `calc(75vh * ${size.width / size.height})`;
    at("stage").hidden = false;
    allow(true);
  }
  poses = answer.poses;
  if (!drawn) {
    at("boxes").replaceChildren();
    for (const pose of poses) addBox(pose.box);
  }
  at("pose").replaceChildren(...poses.map((_, i) => new Option(`${i + 1}`, i)));
  at("result").hidden = poses.length === 0;
  draw();
  if (poses.length) tell();
}

function tell() {
  const pose = poses[at("pose").value];
  at("joints").replaceChildren(
    ...pose.joints.map(([x, y, score], i) => {
      const row = document.createElement("tr");
      const head = document.createElement("th");
      head.scope = "row";
      head.textContent = readable(about.joints[i]);
      row.append(head, ...[x.toFixed(1), y.toFixed(1), score.toFixed(2)].map(cell));
      row.classList.toggle("unseen", score <= SEEN);
      return row;
    }),
  );
  const joint = at("joint").selectedIndex;
  at("heatmap").src = pose.heatmaps[joint];
  at("heatmap").alt = `Heatmap of ${at("joint").value} in box ${Number(at("pose").value) + 1}: it shines where the joint is likely`;
}

function cell(text) {
  const td = document.createElement("td");
  td.textContent = text;
  return td;
}

function draw(extra = null) {
  const shapes = [];
  for (const pose of poses) {
    const seen = ([, , score]) => score > SEEN;
    for (const [a, b] of about.edges) {
      const [from, to] = [pose.joints[a], pose.joints[b]];
      const side = sideOf(a) === sideOf(b) ? sideOf(a) : "middle";
      if (seen(from) && seen(to)) shapes.push(shape("line", { x1: from[0], y1: from[1], x2: to[0], y2: to[1], class: side }));
    }
    const r = Math.max(size.width, size.height) / 160;
    pose.joints.forEach((joint, i) => {
      if (seen(joint)) shapes.push(shape("circle", { cx: joint[0], cy: joint[1], r, class: sideOf(i) }));
    });
  }
  for (const [x, y, width, height] of [...boxes(), ...(extra ? [extra] : [])]) {
    for (const style of ["box under", "box"]) shapes.push(shape("rect", { x, y, width, height, class: style }));
  }
  at("overlay").replaceChildren(...shapes);
}

function shape(name, attributes) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  return element;
}

function sideOf(joint) {
  const name = about.joints[joint];
  return name.startsWith("left") ? "left" : name.startsWith("right") ? "right" : "middle";
}

const readable = (name) => name.replaceAll("_", " ");
at("pose").addEventListener("change", tell);
at("joint").addEventListener("change", tell);

// ---- boxes: typed

function addBox(box) {
  const row = at("box").content.cloneNode(true).firstElementChild;
  row.querySelectorAll("input").forEach((input, i) => {
    input.value = Math.round(box[i] * 10) / 10;
    input.addEventListener("input", () => {
      drawn = true;
      draw();
    });
  });
  row.querySelector("button").addEventListener("click", () => {
    drawn = true;
    row.remove();
    number();
    draw();
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

function boxes() {
  return [...document.querySelectorAll("#boxes fieldset")]
    .map((row) => [...row.querySelectorAll("input")].map((input) => input.valueAsNumber))
    .filter((box) => box.every(Number.isFinite) && box[2] > 0 && box[3] > 0);
}

function allow(yes) {
  for (const id of ["add", "whole", "find"]) at(id).disabled = !yes;
}

/** Proposed boxes give way to the person's first own one. */
function own() {
  if (!drawn) at("boxes").replaceChildren();
  drawn = true;
}

at("add").addEventListener("click", () => {
  own();
  const box = [size.width / 4, size.height / 4, size.width / 2, size.height / 2];
  addBox(box).querySelector("input").focus();
  draw();
});
at("whole").addEventListener("click", () => {
  at("boxes").replaceChildren();
  addBox([0, 0, size.width, size.height]);
  drawn = false;
  ask(boxes());
});
at("form").addEventListener("submit", (event) => {
  event.preventDefault();
  const given = boxes();
  if (given.length) ask(given);
  else say("There is no box. Add one, or take the whole picture.", true);
});

// ---- boxes: drawn

let corner = null; // where the drag began

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
  if (event.button !== 0) return;
  event.preventDefault();
  at("overlay").setPointerCapture(event.pointerId);
  corner = point(event);
});
at("overlay").addEventListener("pointermove", (event) => {
  if (corner) draw(dragged(event));
});
at("overlay").addEventListener("pointercancel", () => {
  corner = null;
  draw();
});
at("overlay").addEventListener("pointerup", (event) => {
  if (!corner) return;
  const box = dragged(event);
  corner = null;
  // A click is no box.
  if (Math.min(box[2], box[3]) >= Math.max(size.width, size.height) / 100) {
    own();
    addBox(box);
    ask(boxes());
  }
  draw();
});
