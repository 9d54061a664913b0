"use strict";
// The exported explorer: everything it shows lies in this document; nothing is asked of any server.

const content = JSON.parse(document.getElementById("content").textContent);
const at = (id) => document.getElementById(id);
const UNKNOWN = [154, 160, 166];
const FAR = 0.95;

function make(tag, text, name) {
  const made = document.createElement(tag);
  if (text !== undefined) made.textContent = text;
  if (name) made.className = name;
  return made;
}

function int16(text) {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  return new Int16Array(bytes.buffer);
}

function options(select, pairs) {
  select.replaceChildren(...pairs.map(([value, words]) => Object.assign(make("option", words), { value })));
}

const rgb = (hex) => [1, 3, 5].map((start) => parseInt(hex.slice(start, start + 2), 16));

// ---- words ----

at("notice").textContent = content.notice;
document.querySelector("h1").textContent = content.title;
at("what").textContent =
  `A ${content.prior} variational autoencoder of ${content.dimensions} dimensions, trained on ${content.data}.`;
at("source").textContent = `Data: ${content.attribution}. Images are shown at ${content.window}.`;
if (content.figures) {
  const table = make("table");
  const head = make("tr");
  head.append(...["", ...content.figures.columns].map((name) => make("th", name)));
  table.append(head);
  for (const row of content.figures.rows) {
    const line = make("tr");
    line.append(...row.map((cell, number) => make(number ? "td" : "th", cell)));
    table.append(line);
  }
  at("figures").append(make("p", "AUC of the model score beside what size alone gives on the same lesions."));
  at("figures").append(table, make("p", content.figures.words));
  if (content.scores) at("figures").append(make("p", content.scores));
} else at("figures").append(make("p", "This model was not evaluated: nobody knows what its scores are worth."));

// ---- the map ----

const canvas = at("points");
const context = canvas.getContext("2d");
const sheets = {};
let unit, method, by, points, index, palette, view, smallest;
let hovered = -1;
let pinned = -1;
let alone = null;
let found = null; // points that the search found

for (const [name, part] of Object.entries(content.units)) {
  sheets[name] = new Image();
  sheets[name].src = `data:image/jpeg;base64,${part.sheet}`;
}

function choose() {
  const part = content.units[unit];
  points = int16(part.points[method]);
  const colouring = part.colours[by];
  index = int16(colouring.index);
  palette = colouring.palette.map(rgb);
  alone = null;
  legend(colouring);
  search();
  fit();
}

function legend(colouring) {
  const parts = [make("b", colouring.title)];
  const entry = (number, label, count, colour) => {
    const button = make("button");
    button.type = "button";
    button.title = "Show only these";
    const dot = make("i");
    dot.style.background = colour;
    button.append(dot, make("span", `${label} ${count.toLocaleString("en")}`));
    button.setAttribute("aria-pressed", "false");
    button.onclick = () => {
      alone = alone === number ? null : number;
      for (const other of at("legend").querySelectorAll("button"))
        other.setAttribute("aria-pressed", String(other === button && alone !== null));
      draw();
    };
    return button;
  };
  colouring.labels.forEach((label, number) =>
    parts.push(entry(number, label, colouring.counts[number], colouring.palette[number])),
  );
  if (!colouring.labels.length && colouring.low) {
    const ramp = make("span", "", "ramp");
    ramp.style.background = `linear-gradient(90deg, ${colouring.palette.join(", ")})`;
    const scale = make("span");
    scale.append(`${colouring.low} `, ramp, ` ${colouring.high}`);
    parts.push(scale);
  }
  if (colouring.unknown) parts.push(entry(-1, "not known", colouring.unknown, "#9aa0a6"));
  if (colouring.note) parts.push(make("span", colouring.note));
  at("legend").replaceChildren(...parts);
}

const count = () => points.length / 2;
const shown = (i) => (alone === null || index[i] === alone) && (!found || found.has(i));

function fit() {
  const [w, h] = [canvas.clientWidth, canvas.clientHeight];
  let [left, right, low, high] = [Infinity, -Infinity, Infinity, -Infinity];
  for (let i = 0; i < points.length; i += 2) {
    left = Math.min(left, points[i]);
    right = Math.max(right, points[i]);
    low = Math.min(low, points[i + 1]);
    high = Math.max(high, points[i + 1]);
  }
  smallest = Math.min((w - 40) / (right - left || 1), (h - 40) / (high - low || 1));
  view = { x: (left + right) / 2, y: (low + high) / 2, k: smallest };
  draw();
}

const screen = (i) => [
  canvas.clientWidth / 2 + (points[2 * i] - view.x) * view.k,
  canvas.clientHeight / 2 - (points[2 * i + 1] - view.y) * view.k,
];

let waiting = 0;
function draw() {
  if (!points || waiting) return;
  waiting = requestAnimationFrame(() => {
    waiting = 0;
    paint();
  });
}

function paint() {
  const ratio = devicePixelRatio || 1;
  const [w, h] = [canvas.clientWidth, canvas.clientHeight];
  if (!w) return;
  [canvas.width, canvas.height] = [Math.round(w * ratio), Math.round(h * ratio)];
  context.scale(ratio, ratio);
  const radius = Math.min((count() > 6000 ? 1.9 : 3.1) * Math.sqrt(Math.max(view.k / smallest, 0.7)), 7);
  const side = 2 * radius;
  const calm = (i) => (shown(i) ? 0.88 : 0.06);
  // One colour after the other: a canvas is slow to change its colour.
  const groups = new Map();
  for (let i = 0; i < count(); i += 1) {
    const [x, y] = screen(i);
    if (x < -9 || y < -9 || x > w + 9 || y > h + 9) continue;
    const key = `${index[i]}/${calm(i)}`;
    if (!groups.has(key)) groups.set(key, []);
    groups.get(key).push(x, y);
  }
  for (const [key, places] of groups) {
    const [number, alpha] = key.split("/").map(Number);
    const colour = number < 0 ? UNKNOWN : palette[number];
    context.fillStyle = `rgba(${colour.join(",")},${alpha})`;
    if (radius < 2.6) for (let p = 0; p < places.length; p += 2) context.fillRect(places[p] - radius, places[p + 1] - radius, side, side);
    else {
      context.beginPath();
      for (let p = 0; p < places.length; p += 2) {
        context.moveTo(places[p] + radius, places[p + 1]);
        context.arc(places[p], places[p + 1], radius, 0, 7);
      }
      context.fill();
    }
  }
  for (const [i, width] of [[pinned, 2.5], [hovered, 2]]) {
    if (i < 0) continue;
    context.beginPath();
    context.arc(...screen(i), radius + 4, 0, 7);
    context.lineWidth = width;
    context.strokeStyle = getComputedStyle(canvas).color;
    context.stroke();
  }
}

function nearest(x, y) {
  let [best, least] = [-1, 14 * 14];
  for (let i = 0; i < count(); i += 1) {
    if (!shown(i)) continue;
    const [px, py] = screen(i);
    const distance = (px - x) ** 2 + (py - y) ** 2;
    if (distance < least) [best, least] = [i, distance];
  }
  return best;
}

function card(i) {
  const box = at("card");
  box.hidden = i < 0;
  if (i < 0) {
    delete box.dataset.row;
    return;
  }
  const part = content.units[unit];
  const { lesions } = part;
  const picture = make("canvas");
  picture.width = picture.height = part.side;
  picture.setAttribute("role", "img");
  const kind = part.real[i] ? "CT slice" : "reconstruction (generated)";
  picture.setAttribute("aria-label", kind);
  const [column, line] = [i % part.across, Math.floor(i / part.across)];
  const { side } = part;
  picture.getContext("2d").drawImage(sheets[unit], column * side, line * side, side, side, 0, 0, side, side);
  const rating = lesions.malignancy?.[i] ?? null;
  const lines = [
    `nodule ${lesions.nodule[i]}, slice ${lesions.slice[i]}`,
    rating === null ? "Malignancy not rated" : `Readers: ${content.words[rating] || "rated"} (${rating})`,
  ];
  if (lesions.diameter?.[i]) lines.push(`Diameter ${lesions.diameter[i]} mm`);
  if (lesions.score?.[i] != null) lines.push(`Model score ${lesions.score[i].toFixed(2)}`);
  box.replaceChildren(
    picture,
    make("span", kind, part.real[i] ? "" : "kind"),
    make("b", lesions.patients[lesions.patient[i]]),
    ...lines.map((text) => make("span", text)),
  );
  box.dataset.row = String(lesions.row[i]);
  const [x, y] = screen(i);
  const [w, h] = [canvas.clientWidth, canvas.clientHeight];
  box.style.left = `${x + 190 > w ? Math.max(4, x - 188) : x + 16}px`;
  box.style.top = `${Math.max(4, Math.min(y - 90, h - 275))}px`;
  at("said").textContent = `${lesions.patients[lesions.patient[i]]}, ${lines.join(", ")}.`;
}

function point(i) {
  hovered = i;
  card(i >= 0 ? i : pinned);
  draw();
}

function search() {
  const text = at("find").value.trim().toLowerCase();
  const { lesions } = content.units[unit];
  found = null;
  if (text) {
    found = new Set();
    lesions.patient.forEach((patient, i) => {
      const name = `${lesions.patients[patient]} ${lesions.nodule[i]}`.toLowerCase();
      if (name.includes(text)) found.add(i);
    });
  }
  const many = (number) => `${number.toLocaleString("en")} ${unit}${number === 1 ? "" : "s"}`;
  at("said").textContent = found
    ? `${many(found.size)} found.`
    : `${many(count())}. Point at one, click to keep its card.`;
  draw();
}

let drag = null;
canvas.onpointerdown = (event) => {
  drag = { x: event.offsetX, y: event.offsetY, from: { ...view }, moved: false };
  canvas.setPointerCapture(event.pointerId);
};
canvas.onpointermove = (event) => {
  if (!drag) return point(nearest(event.offsetX, event.offsetY));
  const [dx, dy] = [event.offsetX - drag.x, event.offsetY - drag.y];
  drag.moved ||= Math.hypot(dx, dy) > 4;
  if (!drag.moved) return undefined;
  view = { ...view, x: drag.from.x - dx / view.k, y: drag.from.y + dy / view.k };
  return point(-1);
};
canvas.onpointerup = (event) => {
  if (drag && !drag.moved) {
    pinned = nearest(event.offsetX, event.offsetY);
    point(pinned);
  }
  drag = null;
};
canvas.onpointerleave = () => drag || point(-1);
function zoom(factor, x, y) {
  const [w, h] = [canvas.clientWidth, canvas.clientHeight];
  const k = Math.min(Math.max(view.k * factor, smallest * 0.8), smallest * 200);
  const [mx, my] = [(x - w / 2) / view.k + view.x, (h / 2 - y) / view.k + view.y];
  view = { k, x: mx - (x - w / 2) / k, y: my - (h / 2 - y) / k };
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
  const step = 60 / view.k;
  const [w, h] = [canvas.clientWidth, canvas.clientHeight];
  const moves = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, step], ArrowDown: [0, -step] };
  if (moves[event.key]) {
    view = { ...view, x: view.x + moves[event.key][0], y: view.y + moves[event.key][1] };
    point(-1);
  } else if (event.key === "+" || event.key === "=") zoom(1.3, w / 2, h / 2);
  else if (event.key === "-") zoom(1 / 1.3, w / 2, h / 2);
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

const SIDE = 64;
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
  const before = change.getImageData(0, 0, SIDE, SIDE);
  const after = now.getImageData(0, 0, SIDE, SIDE);
  for (let p = 0; p < before.data.length; p += 4) {
    const share = Math.max(-1, Math.min(1, (after.data[p] - before.data[p]) / 64));
    const full = share < 0 ? [86, 180, 233] : [230, 159, 0];
    for (let c = 0; c < 3; c += 1) before.data[p + c] = 17 + (full[c] - 17) * Math.abs(share);
  }
  change.putImageData(before, 0, 0);
  const told = starts[start];
  const place = 1 + line * steps + step;
  const parts = [];
  if (told.scores) {
    const difference = told.scores[place] - told.scores[0];
    parts.push(
      make("b", `Model score ${told.scores[place].toFixed(2)}`),
      ` (start ${told.scores[0].toFixed(2)}, ${difference < 0 ? "−" : "+"}${Math.abs(difference).toFixed(2)}); not a probability of cancer. ${told.scored} `,
    );
  }
  const far = told.familiarity[place];
  if (far >= FAR)
    parts.push(make("span", `The decoder is inventing here: farther from every lesion than ${Math.floor(100 * Math.min(far, 0.99))} % of lesions are from each other.`, "far"));
  at("score").replaceChildren(...parts);
  at("now").dataset.place = `${start}/${line}/${step}`;
}

function sliders() {
  const rows = walks.map(({ name, told }, number) => {
    const label = make("label");
    const input = make("input");
    Object.assign(input, { type: "range", min: 0, max: steps - 1, step: 1, value: starts[start].near[number] });
    label.title = told;
    input.oninput = () => {
      [line, step] = [number, Number(input.value)];
      // One dimension at a time was decoded: the others go back to the start.
      rows.forEach((other, index_) => {
        other.classList.toggle("chosen", index_ === number);
        if (index_ !== number) other.querySelector("input").value = starts[start].near[index_];
      });
      decode();
    };
    label.append(make("span", name), input);
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
