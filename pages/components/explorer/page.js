// The exported explorer: everything it shows lies in this document; nothing is asked of any server.

import { Camera, flat } from "../lib/camera.js";
import { differencePixel, UNKNOWN } from "../lib/colours.js";
import { element, toRgb } from "../lib/elements.js";
import { nearest } from "../lib/hits.js";
import { bytesOf, paintImage, SIDE } from "../lib/images.js";
import { lesionLines, patientOf } from "../lib/lesions.js";
import { formatChange, formatCount } from "../lib/numbers.js";
import { GHOST, PLAIN, PointPainter } from "../lib/points.js";

const content = JSON.parse(document.getElementById("content").textContent);
const at = (id) => document.getElementById(id);
const FAR = 0.95;

const int16 = (text) => new Int16Array(bytesOf(text).buffer);

function options(select, pairs) {
  select.replaceChildren(...pairs.map(([value, words]) => Object.assign(element("option", "", words), { value })));
}

// ---- words ----

at("notice").textContent = content.notice;
document.querySelector("h1").textContent = content.title;
at("what").textContent =
  `A ${content.prior} variational autoencoder of ${content.dimensions} dimensions, trained on ${content.data}.`;
at("source").textContent = `Data: ${content.attribution}. Images are shown at ${content.window}.`;
if (content.figures) {
  const table = element("table");
  const head = element("tr");
  head.append(...["", ...content.figures.columns].map((name) => element("th", "", name)));
  table.append(head);
  for (const row of content.figures.rows) {
    const line = element("tr");
    line.append(...row.map((cell, number) => element(number ? "td" : "th", "", cell)));
    table.append(line);
  }
  at("figures").append(element("p", "", "AUC of the model score beside what size alone gives on the same lesions."));
  at("figures").append(table, element("p", "", content.figures.words));
  if (content.scores) at("figures").append(element("p", "", content.scores));
} else at("figures").append(element("p", "", "This model was not evaluated: nobody knows what its scores are worth."));

// ---- the map ----

const canvas = at("points");
const painter = new PointPainter(canvas);
const context = painter.context;
const camera = new Camera();
const sheets = {};
let unit, method, by, xyz, colouring;
let sx, sy, index, state; // of each point: its place on the screen, its colour, whether it is shown
let hovered = -1;
let pinned = -1;
let alone = null;
let matches = null; // points that the search found

for (const [name, part] of Object.entries(content.units)) {
  sheets[name] = new Image();
  sheets[name].src = `data:image/jpeg;base64,${part.sheet}`;
}

function choose() {
  const part = content.units[unit];
  xyz = flat(int16(part.points[method]));
  colouring = part.colours[by];
  index = int16(colouring.index);
  [sx, sy, state] = [new Float32Array(index.length), new Float32Array(index.length), new Uint8Array(index.length)];
  painter.shuffle(index.length);
  alone = null;
  legend();
  search();
  fit();
}

function legend() {
  const parts = [element("b", "", colouring.title)];
  const entry = (number, label, count, colour) => {
    const button = element("button");
    button.type = "button";
    button.title = "Show only these";
    const dot = element("i");
    if (number < 0) dot.style.border = `1.5px solid ${colour}`;
    else dot.style.background = colour;
    button.append(dot, element("span", "", `${label} ${formatCount(count)}`));
    button.setAttribute("aria-pressed", "false");
    button.onclick = () => {
      alone = alone === number ? null : number;
      for (const other of at("legend").querySelectorAll("button"))
        other.setAttribute("aria-pressed", String(other === button && alone !== null));
      restate();
    };
    return button;
  };
  colouring.labels.forEach((label, number) =>
    parts.push(entry(number, label, colouring.counts[number], colouring.palette[number])),
  );
  if (!colouring.labels.length && colouring.low) {
    const ramp = element("span", "ramp");
    ramp.style.background = `linear-gradient(90deg, ${colouring.palette.join(", ")})`;
    const scale = element("span");
    scale.append(`${colouring.low} `, ramp, ` ${colouring.high}`);
    parts.push(scale);
  }
  if (colouring.unknown) parts.push(entry(-1, "not known", colouring.unknown, UNKNOWN));
  if (colouring.note) parts.push(element("span", "", colouring.note));
  at("legend").replaceChildren(...parts);
}

const count = () => index.length;
const shown = (i) => state[i] !== GHOST;
const size = () => [canvas.clientWidth, canvas.clientHeight];

function restate() {
  for (let i = 0; i < state.length; i += 1)
    state[i] = (alone === null || index[i] === alone) && (!matches || matches.has(i)) ? PLAIN : GHOST;
  draw();
}

function fit() {
  Object.assign(camera, camera.fitted(xyz, 2, ...size(), [40, 40]));
  draw();
}

let waiting = 0;
function draw() {
  if (!xyz || waiting) return;
  waiting = requestAnimationFrame(() => {
    waiting = 0;
    paint();
  });
}

function paint() {
  const ratio = devicePixelRatio || 1;
  const [width, height] = size();
  if (!width) return;
  const style = getComputedStyle(canvas);
  painter.setPalette(colouring.palette, toRgb(getComputedStyle(at("stage")).backgroundColor), toRgb(style.color));
  camera.project(xyz, sx, sy, null, width, height);
  const radius = Math.min((count() > 6000 ? 1.9 : 3.1) * Math.sqrt(Math.max(camera.zoomedBy, 0.7)), 7);
  painter.paint({ sx, sy, state, index, radius, edge: 0, ratio, width, height, most: 0 });
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  for (const [i, lineWidth] of [[pinned, 2.5], [hovered, 2]]) {
    if (i < 0) continue;
    context.beginPath();
    context.arc(sx[i], sy[i], radius + 4, 0, 7);
    context.lineWidth = lineWidth;
    context.strokeStyle = style.color;
    context.stroke();
  }
}

const pointed = (event) => nearest({ sx, sy }, event.offsetX, event.offsetY, { pointable: shown });

function card(i) {
  const box = at("card");
  box.hidden = i < 0;
  if (i < 0) {
    delete box.dataset.row;
    return;
  }
  const part = content.units[unit];
  const { lesions } = part;
  const picture = element("canvas");
  picture.width = picture.height = part.side;
  picture.setAttribute("role", "img");
  const kind = part.real[i] ? "CT slice" : "reconstruction (generated)";
  picture.setAttribute("aria-label", kind);
  const [column, line] = [i % part.across, Math.floor(i / part.across)];
  const { side } = part;
  picture.getContext("2d").drawImage(sheets[unit], column * side, line * side, side, side, 0, 0, side, side);
  const lines = lesionLines(lesions, i, content.words);
  box.replaceChildren(
    picture,
    element("span", part.real[i] ? "" : "kind", kind),
    element("b", "", patientOf(lesions, i)),
    ...lines.map((text) => element("span", "", text)),
  );
  box.dataset.row = String(lesions.row[i]);
  const [width, height] = size();
  const [x, y] = camera.toScreen(xyz[3 * i], xyz[3 * i + 1], width, height);
  box.style.left = `${x + 190 > width ? Math.max(4, x - 188) : x + 16}px`;
  box.style.top = `${Math.max(4, Math.min(y - 90, height - 275))}px`;
  at("said").textContent = `${patientOf(lesions, i)}, ${lines.join(", ")}.`;
}

function point(i) {
  hovered = i;
  card(i >= 0 ? i : pinned);
  draw();
}

function search() {
  const text = at("find").value.trim().toLowerCase();
  const { lesions } = content.units[unit];
  matches = null;
  if (text) {
    const names = lesions.nodule.map((nodule, i) => `${patientOf(lesions, i)} ${nodule}`.toLowerCase());
    matches = new Set([...names.keys()].filter((i) => names[i].includes(text)));
  }
  const many = (number) => `${formatCount(number)} ${unit}${number === 1 ? "" : "s"}`;
  at("said").textContent = matches
    ? `${many(matches.size)} found.`
    : `${many(count())}. Point at one, click to keep its card.`;
  restate();
}

let drag = null;
canvas.onpointerdown = (event) => {
  drag = { x: event.offsetX, y: event.offsetY, from: camera.settings(), moved: false };
  canvas.setPointerCapture(event.pointerId);
};
canvas.onpointermove = (event) => {
  if (!drag) return point(pointed(event));
  const [dx, dy] = [event.offsetX - drag.x, event.offsetY - drag.y];
  drag.moved ||= Math.hypot(dx, dy) > 4;
  if (!drag.moved) return undefined;
  camera.pan(dx, dy, drag.from);
  return point(-1);
};
canvas.onpointerup = (event) => {
  if (drag && !drag.moved) {
    pinned = pointed(event);
    point(pinned);
  }
  drag = null;
};
canvas.onpointerleave = () => drag || point(-1);
function zoom(factor, x, y) {
  camera.zoom(factor, x, y, ...size());
  point(-1);
}
canvas.addEventListener(
  "wheel",
  (event) => {
    event.preventDefault();
    zoom(Math.exp(-event.deltaY * 0.0016), event.offsetX, event.offsetY);
  },
  { passive: false },
);
canvas.onkeydown = (event) => {
  const middle = size().map((length) => length / 2);
  const moves = { ArrowLeft: [60, 0], ArrowRight: [-60, 0], ArrowUp: [0, 60], ArrowDown: [0, -60] };
  if (moves[event.key]) {
    camera.pan(...moves[event.key]);
    point(-1);
  } else if (event.key === "+" || event.key === "=") zoom(1.3, ...middle);
  else if (event.key === "-") zoom(1 / 1.3, ...middle);
  else if (event.key === "0") fit();
  else if (event.key === "Escape") {
    pinned = -1;
    point(-1);
  } else if ("nNpP".includes(event.key)) {
    const way = event.key.toLowerCase() === "n" ? 1 : -1;
    let next = pinned;
    for (let tries = 0; tries < count(); tries += 1) {
      next = (next + way + count()) % count();
      if (shown(next)) break;
    }
    pinned = next;
    point(next);
  } else return;
  event.preventDefault();
};
at("fit").onclick = fit;
at("find").oninput = search;

const units = Object.keys(content.units);
options(at("unit"), units.map((name) => [name, name]));
options(at("method"), Object.entries(content.methods));
const set = () => {
  const before = unit;
  unit = at("unit").value;
  method = at("method").value;
  if (unit !== before) {
    const kept = by;
    const { colours } = content.units[unit];
    options(at("colour"), Object.entries(colours).map(([name, each]) => [name, each.title]));
    if (colours[kept]) at("colour").value = kept;
    hovered = pinned = -1;
    card(-1);
  }
  by = at("colour").value;
  choose();
};
for (const id of ["unit", "method", "colour"]) at(id).onchange = set;
set();
new ResizeObserver(() => draw()).observe(canvas);

// ---- traversals ----

const { steps, walks, starts } = content.traversals;
const now = at("now").getContext("2d");
const change = at("change").getContext("2d", { willReadFrequently: true });
const decoded = new Map();
let start = 0;
let line = 0;
let step = 0;

async function tiles(number) {
  if (!decoded.has(number)) {
    const image = new Image();
    image.src = `data:image/jpeg;base64,${starts[number].sheet}`;
    decoded.set(number, image.decode().then(() => image));
  }
  return decoded.get(number);
}

async function decode() {
  const sheet = await tiles(start);
  now.drawImage(sheet, step * SIDE, (line + 1) * SIDE, SIDE, SIDE, 0, 0, SIDE, SIDE);
  change.drawImage(sheet, 0, 0, SIDE, SIDE, 0, 0, SIDE, SIDE);
  const before = change.getImageData(0, 0, SIDE, SIDE).data;
  const after = now.getImageData(0, 0, SIDE, SIDE).data;
  paintImage(change, (p) => differencePixel((after[4 * p] - before[4 * p]) / 64));
  const from = starts[start];
  const place = 1 + line * steps + step;
  const parts = [];
  if (from.scores) {
    const score = from.scores[place];
    parts.push(
      element("b", "", `Model score ${score.toFixed(2)}`),
      ` (start ${from.scores[0].toFixed(2)}, ${formatChange(score - from.scores[0])}); not a probability of cancer. ${from.scored} `,
    );
  }
  const far = from.familiarity[place];
  if (far >= FAR) {
    const share = Math.floor(100 * Math.min(far, 0.99));
    const sentence = `The decoder is inventing here: farther from every lesion than ${share} % of lesions are from each other.`;
    parts.push(element("span", "far", sentence));
  }
  at("score").replaceChildren(...parts);
  at("now").dataset.place = `${start}/${line}/${step}`;
}

function sliders() {
  const rows = walks.map(({ name, help }, number) => {
    const label = element("label");
    const input = element("input");
    Object.assign(input, { type: "range", min: 0, max: steps - 1, step: 1, value: starts[start].near[number] });
    label.title = help;
    input.oninput = () => {
      [line, step] = [number, Number(input.value)];
      // One dimension at a time was decoded: the others go back to the start.
      rows.forEach((other, index_) => {
        other.classList.toggle("chosen", index_ === number);
        if (index_ !== number) other.querySelector("input").value = starts[start].near[index_];
      });
      decode();
    };
    label.append(element("span", "", name), input);
    return label;
  });
  at("sliders").replaceChildren(...rows);
  [line, step] = [0, starts[start].near[0]];
  decode();
}
options(at("start"), starts.map(({ name }, number) => [String(number), name]));
at("start").onchange = () => {
  start = Number(at("start").value);
  sliders();
};
sliders();
at("theme").onclick = () => {
  const light = document.documentElement.dataset.theme !== "light";
  document.documentElement.dataset.theme = light ? "light" : "dark";
  at("theme").textContent = light ? "Dark" : "Light";
  draw();
};
if (matchMedia("(prefers-color-scheme: light)").matches) at("theme").click();
document.documentElement.dataset.ready = "1";
