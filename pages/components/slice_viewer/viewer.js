// The viewer itself: pointer, wheel and keys; what Python gives, and what is reported to it.

import { component } from "../lib/component.js";
import { element } from "../lib/elements.js";
import { SlicePainter } from "./paint.js";
import { SliceStore } from "./store.js";

const MOST_ZOOM = 8;
const QUIET_MS = 60; // after the last wheel step or key before Python hears of it
const WHEEL = 40; // pixels of a wheel's or trackpad's turn that are a slice
const LENGTHS_MM = [1, 2, 5, 10, 20, 50, 100, 200];

class Viewer {
  constructor(root) {
    const find = (selector) => root.querySelector(selector);
    this.find = find;
    this.frame = find(".frame");
    this.range = find(".slices input");
    this.painter = new SlicePainter(find("canvas"));
    this.at = 0;
    this.position = null;
    this.positions = {};
    this.view = { x: 0, y: 0, zoom: 1 };
    this.given = {}; // what Python gave last
    this.reported = new Set(); // what was reported to Python since, so that its echo is not taken for an order
    this.turned = 0;
    this.sizes = new ResizeObserver(() => this.resize());
    this.sizes.observe(this.frame);
    this.listen();
  }

  close() {
    clearTimeout(this.timer);
    this.sizes.disconnect();
    this.store?.close();
  }

  // ---- what Python gives ----

  take(data, { setStateValue }) {
    this.tell = (state) => setStateValue("view", state);
    const before = this.data;
    this.data = data;
    const other = before?.source !== data.source || before.count !== data.count || before.rows !== data.rows;
    const turned = other || before.turn !== data.turn;
    if (other) {
      this.store?.close();
      this.store = new SliceStore(data.source, data.count, () => this.paint(), (text) => this.fail(text));
      this.view = { x: 0, y: 0, zoom: 1 };
    }
    if (turned) this.reported.clear();
    const given = { at: data.at, position: data.position };
    for (const name of ["at", "position"]) {
      const text = name + JSON.stringify(given[name]);
      const changed = turned || text !== name + JSON.stringify(this.given[name]);
      if (changed && !this.reported.has(text)) this[name] = given[name];
    }
    this.given = given;
    this.positions = data.positions; // boxes of single slices
    this.at = Math.min(Math.max(this.at, 0), data.count - 1);
    this.store.outlines(data.outlines);
    if (other || !before || JSON.stringify(before.presets) !== JSON.stringify(data.presets)) this.presets(!before);
    this.frame.style.aspectRatio = `${data.columns} / ${data.rows}`;
    this.frame.style.maxWidth = `${data.size}px`;
    for (const row of [".slices", ".tools"]) this.find(row).style.maxWidth = `${data.size}px`;
    this.frame.classList.toggle("placing", data.place);
    this.frame.setAttribute("aria-label", this.help());
    for (const part of [".previous", ".next", ".slices input", "output"]) {
      this.find(part).hidden = data.count < 2; // one slice has nothing to scroll through, but can be zoomed
    }
    this.range.max = data.count - 1;
    this.show();
  }

  help() {
    const { label, count, place } = this.data;
    const parts = [label || "CT slices"];
    if (count > 1) parts.push(place ? "Page up and down change the slice" : "Arrow keys change the slice");
    if (place) parts.push("click the lesion or move the box with the arrow keys, with Shift by ten pixels");
    parts.push("drag with Shift or the right button for window and level");
    return `${parts.join(". ")}.`;
  }

  presets(first) {
    const group = this.find(".presets");
    group.replaceChildren(
      ...Object.entries(this.data.presets).map(([name, [width, level]]) => {
        const button = element("button");
        Object.assign(button, { type: "button", textContent: name, title: `W ${width}  L ${level} HU` });
        button.onclick = () => this.window(width, level);
        return button;
      }),
    );
    const [width, level] = this.data.presets[this.data.window] ?? Object.values(this.data.presets)[0];
    if (first) Object.assign(this, { width, level });
    this.window(this.width, this.level);
  }

  // ---- what is shown ----

  show() {
    const { data } = this;
    this.range.value = this.at;
    this.range.setAttribute("aria-valuetext", `slice ${this.at + 1} of ${data.count}`);
    this.find("output").textContent = `${this.at + 1} of ${data.count}`;
    this.find(".previous").disabled = this.at === 0;
    this.find(".next").disabled = this.at === data.count - 1;
    this.store.want(this.at);
    this.paint();
  }

  fail(text) {
    this.find(".status").textContent = text;
  }

  box() {
    return this.positions[this.at] ?? this.position;
  }

  resize() {
    const { canvas } = this.painter;
    const ratio = window.devicePixelRatio || 1;
    const width = Math.round(this.frame.clientWidth * ratio);
    const height = Math.round(this.frame.clientHeight * ratio);
    if (!width || (canvas.width === width && canvas.height === height)) return;
    Object.assign(canvas, { width, height });
    this.paint();
  }

  // Once a screen's frame, however often it is asked for.
  paint() {
    if (this.frameRequest) return;
    this.frameRequest = requestAnimationFrame(() => {
      this.frameRequest = 0;
      this.draw();
    });
  }

  draw() {
    const { data, store, view } = this;
    const slice = store.slice(this.at);
    // Until the slice is here the one before stays, with the number of what is awaited beside it.
    if (slice) this.shown = { at: this.at, slice };
    const shown = this.shown && data.rows * data.columns === this.shown.slice.hu.length ? this.shown : null;
    this.painter.window(this.width, this.level);
    this.painter.paint({
      slice: shown?.slice,
      mask: shown?.at === this.at ? store.mask(this.at) : null,
      rows: data.rows,
      columns: data.columns,
      view,
      box: this.box(),
      place: data.place,
    });
    if (slice) {
      this.find(".status").textContent = "";
      const generated = slice.generated ?? data.generated;
      const badge = this.find(".badge");
      badge.textContent = generated ? "generated" : "CT slice";
      badge.classList.toggle("generated", generated);
      this.frame.dataset.shown = this.at; // which slice is painted
      this.frame.dataset.outlined = store.mask(this.at) ? 1 : 0;
    }
    this.scale(slice?.generated ?? data.generated);
    this.find(".out").disabled = view.zoom <= 1;
    this.find(".in").disabled = view.zoom >= MOST_ZOOM;
  }

  scale(generated) {
    const { spacing, columns } = this.data;
    const bar = this.find(".scale");
    bar.hidden = !spacing || (generated && spacing === null);
    if (bar.hidden) return;
    const visible = (columns * spacing) / this.view.zoom; // mm
    const length = LENGTHS_MM.findLast((each) => each <= visible / 4) ?? LENGTHS_MM[0];
    bar.querySelector("i").style.width = `${(length / visible) * this.frame.clientWidth}px`;
    bar.querySelector("b").textContent = `${length} mm`;
  }

  // ---- what a person does ----

  go(at) {
    const held = Math.min(Math.max(Math.round(at), 0), this.data.count - 1);
    if (held === this.at) return;
    this.at = held;
    this.show();
    this.later();
  }

  window(width, level) {
    this.width = Math.min(Math.max(Math.round(width), 1), 10000);
    this.level = Math.min(Math.max(Math.round(level), -3000), 6000);
    const text = `W ${this.width}  L ${this.level} HU`;
    this.find(".window").textContent = text;
    for (const button of this.find(".presets").children) {
      button.setAttribute("aria-pressed", String(button.title === text));
    }
    for (const name of ["width", "level"]) this.find(`.${name}`).value = this[name];
    this.paint();
  }

  zoom(factor, middle) {
    const { rows, columns } = this.data;
    const { view } = this;
    const zoom = Math.min(Math.max(view.zoom * factor, 1), MOST_ZOOM);
    const [row, column] = middle ?? this.box() ?? [rows / 2, columns / 2];
    if (middle) {
      // The place under the pointer stays under it.
      view.x = column - ((column - view.x) * view.zoom) / zoom;
      view.y = row - ((row - view.y) * view.zoom) / zoom;
    } else {
      view.x = column + 0.5 - columns / zoom / 2;
      view.y = row + 0.5 - rows / zoom / 2;
    }
    view.zoom = zoom;
    this.pan(0, 0);
  }

  pan(x, y) {
    const { view, data } = this;
    view.x = Math.min(Math.max(view.x + x, 0), data.columns - data.columns / view.zoom);
    view.y = Math.min(Math.max(view.y + y, 0), data.rows - data.rows / view.zoom);
    this.paint();
  }

  put(row, column) {
    const held = (value, most) => Math.min(Math.max(Math.round(value), 0), most - 1);
    this.position = [held(row, this.data.rows), held(column, this.data.columns)];
    this.positions = {}; // Python says again where single slices' boxes are, once it has heard
    this.paint();
  }

  // ---- what is reported to Python ----

  report() {
    clearTimeout(this.timer);
    const [row, column] = this.box() ?? [null, null];
    this.reported.add(`at${JSON.stringify(this.at)}`);
    this.reported.add(`position${JSON.stringify(this.position)}`);
    this.tell({ slice: this.at, row, column });
  }

  later() {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.report(), QUIET_MS);
  }

  // ---- pointer, wheel and keys ----

  place(event) {
    const area = this.frame.getBoundingClientRect();
    const { view, data } = this;
    return [
      view.y + ((event.clientY - area.top) / area.height) * (data.rows / view.zoom),
      view.x + ((event.clientX - area.left) / area.width) * (data.columns / view.zoom),
    ];
  }

  listen() {
    const { frame } = this;
    frame.oncontextmenu = (event) => event.preventDefault();
    frame.onpointerdown = (event) => this.press(event);
    frame.onpointermove = (event) => this.drag(event);
    frame.onpointerup = () => this.release();
    frame.onpointercancel = () => this.release();
    frame.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
    frame.onkeydown = (event) => this.key(event);
    this.range.oninput = () => this.go(Number(this.range.value));
    this.find(".previous").onclick = () => this.go(this.at - 1);
    this.find(".next").onclick = () => this.go(this.at + 1);
    this.find(".in").onclick = () => this.zoom(2);
    this.find(".out").onclick = () => this.zoom(0.5);
    for (const name of ["width", "level"]) {
      this.find(`.${name}`).onchange = (event) => {
        const value = Number(event.target.value);
        this.window(name === "width" ? value : this.width, name === "level" ? value : this.level);
      };
    }
  }

  press(event) {
    this.frame.setPointerCapture(event.pointerId);
    this.frame.focus({ preventScroll: true });
    const place = this.data.place && event.button === 0 && !event.shiftKey;
    const windowing = event.button === 2 || event.shiftKey;
    this.hand = { x: event.clientX, y: event.clientY, does: place ? "place" : windowing ? "window" : "pan" };
    if (place) this.put(...this.place(event).map(Math.floor));
  }

  drag(event) {
    const { hand } = this;
    if (!hand || !event.buttons) return;
    const [x, y] = [event.clientX - hand.x, event.clientY - hand.y];
    Object.assign(hand, { x: event.clientX, y: event.clientY });
    if (hand.does === "place") this.put(...this.place(event).map(Math.floor));
    else if (hand.does === "window") {
      const step = Math.max(this.width, 100) / 400;
      this.window(this.width + x * step, this.level - y * step);
    } else {
      const scale = this.data.columns / this.view.zoom / this.frame.clientWidth;
      this.pan(-x * scale, -y * scale);
    }
  }

  release() {
    if (this.hand?.does === "place") this.report();
    this.hand = null;
  }

  wheel(event) {
    if (event.ctrlKey) {
      event.preventDefault();
      this.zoom(2 ** (-event.deltaY / 200), this.place(event));
      return;
    }
    if (this.data.count < 2 || event.shiftKey) return;
    event.preventDefault();
    // Firefox counts lines, and a mouse's notch is some 100 pixels: a slice each.
    this.turned += event.deltaMode === 1 ? event.deltaY * WHEEL : event.deltaY;
    const steps = Math.trunc(this.turned / WHEEL);
    if (!steps) return;
    this.turned = 0;
    this.go(this.at + (Math.abs(event.deltaY) >= 100 ? Math.sign(steps) : steps));
  }

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const { count, place, rows, columns } = this.data;
    const step = event.shiftKey ? 10 : 1;
    const arrows = { ArrowLeft: [0, -step], ArrowRight: [0, step], ArrowUp: [-step, 0], ArrowDown: [step, 0] };
    const slices = { PageUp: -1, PageDown: 1, Home: -count, End: count };
    const move = arrows[event.key];
    if (move && place) {
      const [row, column] = this.box() ?? [Math.floor(rows / 2), Math.floor(columns / 2)];
      this.put(row + move[0], column + move[1]);
      this.later();
    } else if (move && count > 1) this.go(this.at + Math.sign(move[0] + move[1]));
    else if (event.key in slices) this.go(this.at + slices[event.key]);
    else if (event.key === "+" || event.key === "=") this.zoom(2);
    else if (event.key === "-") this.zoom(0.5);
    else return;
    event.preventDefault();
  }
}

export default component(Viewer);
