// Sliders that decode while they are dragged. The server's side is lungvae_core/serving/walks/live.py.
//
// At most one request is under way; while it is, only the newest value of the slider in hand waits behind it.
// `edits` holds the dimensions that differ from the start. A drag begins from the edits as they were then (its
// anchor), so that moving a slider there and back comes home exactly, on the simplex too. `along` holds how far
// the start was moved along directions, before any edit.
//
// Beside images the view asks for facts, a few times a second while dragging and once at rest; another thread of
// the server answers, so that no image waits for them.

import { differencePixel } from "../lib/colours.js";
import { announcePlace, component } from "../lib/component.js";
import { element } from "../lib/elements.js";
import { bytesOf, paintGrey, paintImage, PIXELS, SIDE } from "../lib/images.js";
import { formatChange, formatNumber } from "../lib/numbers.js";
import { strokeCurve } from "../lib/curves.js";
import { MiniMap } from "./minimap.js";

const SHOWN = 10; // sliders that are not folded away
const FACTS_MS = 160; // between two questions for facts
const TRAIL = 40; // facts that are remembered, for the curves and the trail on the map
// Where a value lies on a slider, and back. A share that the decoder reads as a log-ratio moves evenly in that.
const EVEN = { place: (value) => value, value: (place) => place };
const RATIO = { place: logit, value: (place) => 1 / (1 + Math.exp(-place)) };
const DIFFERENCES = Uint32Array.from({ length: 256 }, (_, at) => differencePixel((at - 128) / 127));

class View {
  constructor(root) {
    const find = (selector) => root.querySelector(selector);
    this.root = find(".view");
    this.contexts = {};
    for (const name of ["now", "difference", "start", "real"]) {
      this.contexts[name] = find(`#${name}`).getContext("2d", { alpha: false });
    }
    this.find = find;
    this.rows = new Map(); // dimension -> its row's elements
    this.edits = new Map();
    this.along = new Map(); // direction -> standard deviations
    this.history = []; // facts of the last places
    this.facts = new Map(); // measured property -> its line's elements
    this.queue = []; // requests that wait; at most one for each drag
    this.sent = null; // the request under way
    this.count = 0; // of requests
    this.drag = 0; // of drags
    this.failures = 0;
    this.turn = Date.now(); // grows with all that is said, also by a view that comes after this one
    find("#smooth").onchange = (event) => this.root.classList.toggle("smooth", event.target.checked);
    find("#reset-all").onclick = () => this.set(new Map(), new Map());
    find("#more").ontoggle = find("#unused").ontoggle = () => this.follow();
    this.root.addEventListener("pointerdown", () => { this.keys = false; });
    this.root.addEventListener("keydown", (event) => {
      this.keys = true;
      this.key(event);
    });
    this.map = new MiniMap(find("#minimap"));
  }

  // Shift and an arrow make ten steps, R takes the slider in hand back, 0 all of them.
  key(event) {
    const input = event.composedPath()[0];
    if (input.type !== "range" || event.ctrlKey || event.metaKey || event.altKey) return;
    const steps = { ArrowRight: 10, ArrowUp: 10, ArrowLeft: -10, ArrowDown: -10 };
    if (event.shiftKey && steps[event.key]) {
      input.value = Number(input.value) + steps[event.key] * Number(input.step);
      input.oninput();
      input.onchange();
    } else if (event.key === "r" || event.key === "R") {
      const row = [...this.rows.values(), ...this.ways.values()].find((each) => each.input === input);
      if (!row.reset.disabled) row.reset.onclick();
    } else if (event.key === "0") this.set(new Map(), new Map());
    else return;
    event.preventDefault();
  }

  // ---- what Python gives ----

  take(data, { setStateValue }) {
    this.tell = (released) => setStateValue("released", released);
    const first = !this.data;
    const moved = first || data.model !== this.data.model || data.start !== this.data.start;
    const other = this.data?.model !== data.model;
    this.data = data;
    this.find(".window").textContent = data.window;
    this.find(".origin").textContent = data.startLabel;
    this.find(".legend .less").textContent = `−${data.differenceHu}`;
    this.find(".legend .more").textContent = `+${data.differenceHu} HU`;
    paintGrey(this.contexts.start, bytesOf(data.startImage));
    this.find("#real-figure").hidden = !data.realImage;
    if (data.realImage) paintGrey(this.contexts.real, bytesOf(data.realImage));
    this.find(".scale").hidden = !data.spacing;
    if (data.spacing) this.find(".scale i").style.width = `${(10 / data.spacing / SIDE) * 6}rem`;
    this.map.take(data);
    if (!moved) return;
    this.build();
    this.edits = new Map(data.edits);
    this.along = new Map(data.along);
    this.history = [];
    this.queue = [];
    this.choose(data.dimension, false);
    if (other) this.connect();
    else this.ask({ drag: ++this.drag });
  }

  build() {
    this.buildWays();
    const folders = [this.find("#rows"), this.find("#more-rows"), this.find("#unused-rows")];
    folders.forEach((folder) => folder.replaceChildren());
    this.rows.clear();
    const names = this.data.names ?? {};
    this.root.classList.toggle("named", Object.values(names).some(([label]) => label));
    const { used } = this.data;
    this.data.sliders.forEach(([dimension, low, high, value, ratio], position) => {
      const [label, sentence] = names[dimension] ?? ["", ""];
      const name = element("button", "name", label ? `z ${dimension} · ${label}` : `z ${dimension}`);
      name.type = "button";
      name.title = [sentence, "Show this dimension's whole range below"].filter(Boolean).join("\n");
      name.onclick = () => this.choose(dimension, true);
      const row = this.buildRow(name, [low, high, value], (moved) => this.move(dimension, moved), ratio ? RATIO : EVEN);
      row.input.setAttribute("aria-label", label ? `Dimension ${dimension}, ${label}` : `Dimension ${dimension}`);
      row.input.dataset.dimension = dimension;
      row.reset.setAttribute("aria-label", `Reset dimension ${dimension}`);
      row.reset.onclick = () => this.set(without(this.edits, dimension), this.along);
      folders[position >= used ? 2 : position < SHOWN ? 0 : 1].append(row.row);
      this.rows.set(dimension, { ...row, label, folded: position >= SHOWN });
    });
    const folded = used - SHOWN;
    this.find("#more").hidden = folded <= 0;
    this.find("#more summary").textContent = `${folded} more, which carry less`;
    const unused = this.data.sliders.length - used;
    this.find("#unused").hidden = unused <= 0;
    this.find("#unused").open = !used; // a model that uses none still has sliders
    this.find("#unused summary").textContent = `${unused} that the model does not use`;
    this.find(".head strong").title = `Ordered by ${this.data.orderedBy}`;
  }

  buildWays() {
    this.ways = new Map();
    const rows = this.data.directions.map(({ name, title, low, high, description }) => {
      const label = element("span", "name", title);
      label.title = description;
      const row = this.buildRow(label, [low, high, 0], (value) => this.moveAlong(name, value));
      row.row.classList.add("way");
      row.input.setAttribute("aria-label", `Direction ${title}, in standard deviations from the start`);
      row.input.dataset.direction = name;
      row.reset.setAttribute("aria-label", `Reset ${title}`);
      row.reset.onclick = () => this.set(this.edits, without(this.along, name));
      this.ways.set(name, row);
      return row.row;
    });
    this.find("#ways").replaceChildren(...rows);
    this.find("#ways").hidden = !rows.length;
  }

  // A name, a slider over [low, high, value] that calls `move` with its values, its value, and a reset button.
  // `scale` says what values its steps are even for.
  buildRow(name, range, move, scale = EVEN) {
    const [row, input, output] = [element("div", "row"), element("input"), element("output")];
    const [min, max, value] = range.map(scale.place);
    Object.assign(input, { type: "range", min, max, step: (max - min) / 250, value });
    input.oninput = () => move(scale.value(Number(input.value)));
    input.onchange = () => this.release();
    const reset = element("button", "reset", "↺");
    reset.type = "button";
    reset.title = "Back to the start";
    row.append(name, input, output, reset);
    return { row, input, output, reset, scale };
  }

  choose(dimension, tell) {
    this.chosen = dimension;
    for (const [at, { row }] of this.rows) row.classList.toggle("chosen", at === dimension);
    if (tell) this.say();
  }

  // ---- what the hand does ----

  move(dimension, value) {
    clearTimeout(this.saying);
    if (this.held !== dimension) {
      this.held = dimension;
      delete this.rows.get(dimension).row.dataset.value;
      this.drag += 1;
      this.choose(dimension, false);
    }
    const row = this.rows.get(dimension);
    row.output.textContent = formatNumber(value);
    this.ask({ drag: this.drag, move: [dimension, value] });
  }

  moveAlong(name, value) {
    clearTimeout(this.saying);
    if (this.held !== name) {
      this.held = name;
      delete this.ways.get(name).row.dataset.value;
      this.drag += 1;
    }
    this.ways.get(name).output.textContent = formatNumber(value);
    const along = new Map(this.along);
    along.set(name, value);
    this.ask({ drag: this.drag, edits: this.edits, along });
  }

  release() {
    this.held = null;
    this.unsaid = true;
    const last = this.queue.at(-1) ?? this.sent ?? this.shown;
    if (last?.quick !== false) this.ask({ ...last }); // what stays is decoded in full precision
    this.settle();
  }

  set(edits, along) {
    this.held = null;
    this.unsaid = true;
    this.ask({ drag: ++this.drag, edits, along });
  }

  // ---- the wire ----

  ask(request) {
    const last = this.queue.at(-1);
    const same = last?.move && request.move && last.move[0] === request.move[0];
    if (last && (same || last.drag === request.drag)) this.queue.pop();
    this.queue.push(request);
    this.send();
  }

  send() {
    if (this.sent || this.socket?.readyState !== WebSocket.OPEN) return;
    if (!this.queue.length) return this.askFacts();
    const request = this.queue.shift();
    if (request.edits) this.edits = new Map(request.edits);
    if (request.along) this.along = new Map([...request.along].filter(([, value]) => value));
    if (this.anchored !== request.drag) {
      this.anchored = request.drag;
      this.anchor = [...this.edits];
    }
    this.sent = request;
    this.count = (this.count + 1) % 2 ** 32;
    const message = { id: this.count, start: this.data.start, along: [...this.along], edits: this.anchor };
    if (request.move) message.move = request.move;
    message.quick = request.quick = (this.held ?? null) !== null;
    this.socket.send(JSON.stringify(message));
    return undefined;
  }

  // Facts travel on a connection of their own: on the images' they would be answered in turn.
  askFacts() {
    clearTimeout(this.factsTimer);
    if (!this.data || this.factsWaiting || this.factsSocket?.readyState !== WebSocket.OPEN) return;
    const wait = FACTS_MS - (performance.now() - (this.factsAt ?? -FACTS_MS));
    if (wait > 0) {
      this.factsTimer = setTimeout(() => this.askFacts(), wait);
      return;
    }
    const message = { id: this.count, start: this.data.start, along: [...this.along], edits: [...this.edits], facts: true };
    const text = JSON.stringify(message);
    const key = JSON.stringify({ ...message, id: 0 });
    if (key === this.factsKey) return;
    this.factsKey = key;
    this.factsWaiting = true;
    this.factsAt = performance.now();
    this.factsSocket.send(text);
  }

  tellFacts(facts) {
    this.factsWaiting = false;
    this.history.push(facts);
    if (this.history.length > TRAIL) this.history.shift();
    const band = facts.band ? `90 % of classifiers: ${facts.band[0].toFixed(2)} to ${facts.band[1].toFixed(2)}` : "";
    write(this.find(".band"), band);
    const [low, high] = facts.band ?? [0, 0];
    this.find(".meter .between").style.left = `${100 * low}%`;
    this.find(".meter .between").style.width = `${100 * (high - low)}%`;
    const near = this.find(".near");
    write(near, facts.words);
    near.classList.toggle("far", facts.far);
    this.find(".nearness i").style.left = `${100 * facts.familiarity}%`;
    const colour = getComputedStyle(this.root).color;
    for (const [name, value] of Object.entries(facts.measured)) {
      const { reading, curve } = this.fact(name);
      write(reading, value === null ? "no lesion found" : formatNumber(value, name.endsWith("HU") ? 0 : 1));
      spark(curve, this.history.map((each) => each.measured[name] ?? null), colour);
    }
    this.map.show(this.history.map((each) => each.place).filter(Boolean));
    if (facts.place) announcePlace(this.data.model, facts.place);
    this.root.dataset.facts = String(facts.id);
    this.askFacts();
  }

  // The line of a measured property; it stays, since new ones would have the page laid out anew at each answer.
  fact(name) {
    if (!this.facts.has(name)) {
      const line = element("div", "fact");
      const reading = element("b", "");
      const curve = element("canvas");
      curve.width = 96;
      curve.height = 22;
      curve.setAttribute("aria-hidden", "true");
      line.append(element("span", "", name[0].toUpperCase() + name.slice(1)), reading, curve);
      this.find("#measured").append(line);
      this.facts.set(name, { reading, curve });
    }
    return this.facts.get(name);
  }

  connect() {
    this.close();
    this.facts.clear();
    this.find("#measured").replaceChildren();
    const scheme = location.protocol === "https:" ? "wss:" : "ws:";
    const address = `${scheme}//${location.host}/api/live/${encodeURIComponent(this.data.model)}`;
    const socket = new WebSocket(address);
    this.socket = socket;
    socket.binaryType = "arraybuffer";
    socket.onopen = () => {
      this.failures = 0;
      this.status("");
      if (!this.queue.length) this.ask({ drag: ++this.drag });
      else this.send();
    };
    socket.onmessage = (event) => this.receive(event.data);
    const beside = new WebSocket(address);
    this.factsSocket = beside;
    this.factsWaiting = false;
    this.factsKey = null;
    beside.onopen = () => this.askFacts();
    beside.onmessage = (event) => this.factsSocket === beside && this.tellFacts(JSON.parse(event.data));
    socket.onclose = (event) => {
      if (this.socket !== socket) return;
      if (this.sent && !this.queue.length) this.queue.push(this.sent);
      this.sent = null;
      if (event.code === 1008 || event.code === 1011) {
        this.status(event.reason || "The server refused to decode this.");
        this.queue = [];
        return;
      }
      this.status("The connection to the server was lost; trying again …");
      this.failures += 1;
      this.timer = setTimeout(() => this.connect(), Math.min(8000, 250 * 2 ** this.failures));
    };
  }

  close() {
    clearTimeout(this.timer);
    clearTimeout(this.factsTimer);
    const sockets = [this.socket, this.factsSocket];
    this.socket = null;
    this.factsSocket = null;
    this.sent = null;
    for (const socket of sockets) if (socket) socket.close();
  }

  receive(buffer) {
    const header = new DataView(buffer);
    const id = header.getUint32(0, true);
    if (!this.sent || id !== this.count) return;
    const count = header.getUint32(4, true);
    const score = header.getFloat32(8, true);
    this.code = new Float32Array(buffer, 12, count);
    const image = new Uint8Array(buffer, 12 + 4 * count, PIXELS);
    const difference = new Int8Array(buffer, 12 + 4 * count + PIXELS, PIXELS);
    paintGrey(this.contexts.now, image);
    paintImage(this.contexts.difference, (at) => DIFFERENCES[difference[at] + 128]);
    const { move } = this.sent;
    this.shown = this.sent;
    this.sent = null;
    if (move) this.edits.set(...move);
    for (const at of this.edits.keys()) this.edits.set(at, this.code[at]);
    this.send(); // the next request travels while this answer's numbers are written
    this.find("#now").dispatchEvent(
      new CustomEvent("decoded", { bubbles: true, composed: true, detail: { id, move, put: performance.now() } }),
    );
    this.follow();
    this.score(score);
    this.settle();
    this.askFacts();
  }

  // ---- what the eye sees ----

  follow() {
    if (!this.code) return;
    const open = this.find("#more").open || this.find("#unused").open;
    for (const [name, { row, input, output, reset }] of this.ways) {
      const value = this.along.get(name) ?? 0;
      if (name !== this.held && row.dataset.value !== String(value)) {
        row.dataset.value = value;
        input.value = value;
        output.textContent = formatNumber(value);
      }
      row.classList.toggle("edited", value !== 0);
      reset.disabled = value === 0;
    }
    for (const [at, { row, input, output, reset, scale, label, folded }] of this.rows) {
      if (folded && !open) continue;
      const value = this.code[at];
      const edited = this.edits.has(at);
      // A slider in hand, or with a newer request under way, is ahead of this answer.
      if (at !== this.held && at !== this.sent?.move?.[0] && row.dataset.value !== String(value)) {
        row.dataset.value = value;
        input.value = scale.place(value);
        output.textContent = formatNumber(value);
        input.setAttribute("aria-valuetext", label ? `${formatNumber(value)}, ${label}` : formatNumber(value));
      }
      row.classList.toggle("edited", edited);
      reset.disabled = !edited;
    }
    this.find("#reset-all").disabled = !this.edits.size && !this.along.size;
  }

  score(score) {
    const from = this.data.startScore;
    const hasScore = !Number.isNaN(score);
    write(this.find(".score .value"), hasScore ? score.toFixed(2) : "none");
    this.find(".meter").hidden = !hasScore;
    if (!hasScore) {
      this.find(".score .change").textContent = "This model has no classifier.";
      return;
    }
    this.find(".meter .to").style.left = `${100 * score}%`;
    this.find(".meter .from").style.left = `${100 * from}%`;
    const text = `start ${from.toFixed(2)}, change ${formatChange(score - from)}; not a probability of cancer`;
    write(this.find(".score .change"), text);
  }

  settle() {
    if (!this.unsaid || this.sent || this.queue.length) return;
    clearTimeout(this.saying);
    this.saying = setTimeout(() => this.say(), this.keys ? 300 : 0); // keys come in rows
  }

  say() {
    clearTimeout(this.saying);
    this.unsaid = false;
    this.turn += 1;
    this.tell({
      model: this.data.model,
      start: this.data.start,
      edits: [...this.edits],
      along: [...this.along],
      dimension: this.chosen ?? null,
      turn: this.turn,
    });
  }

  status(text) {
    this.find(".status").textContent = text;
  }
}

function logit(share) {
  const inside = Math.min(Math.max(share, 1e-6), 1 - 1e-6);
  return Math.log(inside / (1 - inside));
}

function spark(canvas, values, colour) {
  const context = canvas.getContext("2d");
  const { width, height } = canvas;
  context.clearRect(0, 0, width, height);
  const measured = values.filter((value) => value !== null);
  if (measured.length < 2) return;
  const [low, high] = [Math.min(...measured), Math.max(...measured)];
  context.strokeStyle = colour;
  context.lineWidth = 1.5;
  strokeCurve(context, values, (value, at) => [
    2 + ((width - 4) * at) / Math.max(values.length - 1, 1),
    high > low ? height - 3 - ((height - 6) * (value - low)) / (high - low) : height / 2,
  ]);
}

const without = (map, key) => new Map([...map].filter(([each]) => each !== key));

// The same words again would have the browser lay them out again.
function write(node, words) {
  if (node.textContent !== words) node.textContent = words;
}

export default component(View);
