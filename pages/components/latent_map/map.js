// The latent map: what it shows, what is selected, and how the parts play together.
// Everything that is fetched is kept for the whole browser tab.

import { Camera, TURNED } from "../lib/camera.js";
import { UNKNOWN } from "../lib/colours.js";
import { component } from "../lib/component.js";
import { accentOf, toRgb } from "../lib/elements.js";
import { patientOf } from "../lib/lesions.js";
import { formatCount } from "../lib/numbers.js";
import { CHOSEN, DIM, GHOST, PLAIN, PointPainter } from "../lib/points.js";
import { HoverCard } from "./card.js";
import { Layers } from "./layers.js";
import { Legend } from "./legend.js";
import { Pointing } from "./point.js";
import { drawSprite, MOST_SPRITES, store } from "./store.js";

const MORPH_MS = 550;
const THUMBNAILS_BELOW = 110; // so few points in sight are drawn as their images
const SPIN = 0.25; // radians a second
const SPRITES_AGAIN_MS = 4000;

class MapView {
  constructor(parent) {
    this.root = parent.querySelector(".map");
    this.find = (selector) => this.root.querySelector(selector);
    this.stage = this.find(".stage");
    this.xyz = null; // (N, 3) where the points are going
    this.shown = null; // where they are drawn now
    this.sx = this.sy = this.depth = new Float32Array(0); // on the screen, and how near
    this.state = new Uint8Array(0); // GHOST, DIM, PLAIN or CHOSEN of each point
    this.colours = null;
    this.mask = null; // what the filter shows
    this.lesions = null;
    this.sprites = null;
    this.rows = []; // selected rows of the model's table
    this.chosen = new Set(); // the same as points
    this.selectionId = 0;
    this.path = null; // drawn on the map
    this.pathId = 0;
    this.hovered = -1;
    this.linked = -1; // what is pointed at in a map beside
    this.loading = 0;
    this.dirty = {};
    this.camera = new Camera();
    this.painter = new PointPainter(this.find("canvas.points"));
    this.layers = new Layers(this);
    this.card = new HoverCard(this);
    this.legend = new Legend(this.find(".legend"), () => this.restate());
    this.pointing = new Pointing(this);
    this.resizing = new ResizeObserver(() => {
      if (!this.shown || this.moving) return;
      const target = this.camera.fitted(this.xyz, this.dims, this.width, this.height);
      if (!this.zoomed) Object.assign(this.camera, target);
      this.draw();
    });
    this.resizing.observe(this.stage);
    this.listeners = {
      "lungvae:place": (event) => this.place(event.detail || {}),
      "lungvae:map-hover": (event) => this.hoverBeside(event.detail),
      "lungvae:map-selection": (event) => this.selectBeside(event.detail),
    };
    for (const [name, listener] of Object.entries(this.listeners)) window.addEventListener(name, listener);
  }

  close() {
    this.gone = true;
    this.resizing.disconnect();
    for (const [name, listener] of Object.entries(this.listeners)) window.removeEventListener(name, listener);
    clearTimeout(this.spriteTimer);
    this.card.hide();
    cancelAnimationFrame(this.frame);
  }

  // ---- data -------------------------------------------------------------------------------------------

  take(data, { setStateValue }) {
    const before = this.data;
    this.data = data;
    this.dims = data.dims;
    this.setStateValue = setStateValue;
    this.stage.style.height = `${data.height}px`;
    this.root.classList.toggle("fixed", !data.selectable);
    this.root.classList.toggle("pathless", !data.paths || data.dims === 3);
    this.root.classList.toggle("deep", data.dims === 3);
    this.readTheme();
    const same = (...names) => before && names.every((name) => before[name] === data[name]);
    if (!same("api")) {
      this.sprites = null;
      this.card.images.clear();
    }
    if (data.selection.id > this.selectionId || !before) {
      this.selectionId = Math.max(this.selectionId, data.selection.id);
      this.rows = data.selection.rows;
    }
    const moved = !same("api", "unit", "method", "dims", "map");
    if (data.path.id > this.pathId || !before) {
      this.pathId = Math.max(this.pathId, data.path.id);
      this.path = data.path.points;
    } else if (moved) this.path = null;
    if (moved || JSON.stringify(before.marker) !== JSON.stringify(data.marker)) this.layers.trail = [];
    if (!same("dims")) {
      this.spin(false);
      if (before || data.dims === 3) this.pointing.setTool(data.dims === 3 ? "pan" : "lasso");
      this.find("[data-tool=pan]").title =
        data.dims === 3 ? "Turn the map by dragging; the right button moves it." : "Move the map by dragging.";
    }
    const anew = !same("api", "unit");
    if (anew) this.forget();
    if (moved || !same("by", "where", "contours", "clusters")) this.load(anew, moved);
    this.choose();
  }

  // The points of another unit or model are other points: nothing of the old ones may be drawn or pointed at.
  forget() {
    this.hover(-1);
    this.linked = -1;
    this.lesions = null;
    this.xyz = null;
    this.shown = null;
    this.mask = null;
    this.layers.contours = this.layers.outlines = null;
    delete this.root.dataset.ready;
  }

  async load(anew, moved) {
    const turn = ++this.loading;
    const { data } = this;
    const current = () => turn === this.loading && !this.gone;
    if (anew) this.say("Loading the map…");
    if (moved) this.layers.setLines(null, null);
    try {
      const [xyz, colours, mask] = await Promise.all([store.places(data), store.colours(data), store.shown(data)]);
      if (!current()) return;
      this.hover(-1);
      this.mask = mask;
      this.setColours(colours);
      this.moveTo(xyz, anew);
      this.say("");
      const lesions = await store.lesions(data);
      if (!current()) return;
      this.lesions = lesions;
      this.choose();
      this.root.dataset.ready = data.unit;
      this.loadSprites(data.api);
      const [contours, outlines] = await Promise.all([store.contours(data), store.outlines(data)]);
      if (current()) this.layers.setLines(contours, outlines);
    } catch (error) {
      if (current()) this.say(error.message, true);
    }
  }

  async loadSprites(api) {
    if (this.sprites || this.gone || this.data.api !== api) return;
    const most = this.data.unit === "slice" ? this.state.length : this.lesions.point_of_row.length;
    if (most > MOST_SPRITES) return;
    try {
      const sheet = await store.sprites(api);
      if (this.data.api !== api) return;
      this.sprites = sheet;
      this.root.dataset.sprites = sheet ? "1" : "0";
      if (sheet) this.draw();
      // Until it is made, each card asks for its own image.
      else this.spriteTimer = setTimeout(() => this.loadSprites(api), SPRITES_AGAIN_MS);
    } catch {
      // Cards still ask for their own image.
    }
  }

  setColours(colours) {
    const other = this.colours !== colours;
    this.colours = colours;
    this.painter.setPalette(colours.palette, this.ground, this.textRgb);
    if (other) this.legend.show(colours);
  }

  moveTo(xyz, anew) {
    const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
    const from = this.shown;
    const count = xyz.length / 3;
    this.xyz = xyz;
    if (this.state.length !== count || !from) {
      [this.sx, this.sy, this.depth] = [0, 1, 2].map(() => new Float32Array(count));
      this.state = new Uint8Array(count);
      this.painter.shuffle(count);
    }
    this.restate();
    if (xyz === from) return this.draw(() => this.painted());
    const begin = this.camera.settings();
    const target = this.camera.fitted(xyz, this.dims, this.width, this.height);
    this.zoomed = false;
    if (anew || calm || !from || from.length !== xyz.length) {
      this.shown = xyz;
      Object.assign(this.camera, target);
      return this.draw(() => this.painted());
    }
    const start = performance.now();
    const between = new Float32Array(xyz.length);
    this.moving = true;
    const step = () => {
      if (this.gone || this.xyz !== xyz) return;
      const t = Math.min((performance.now() - start) / MORPH_MS, 1);
      const ease = t < 0.5 ? 2 * t * t : 1 - 2 * (1 - t) * (1 - t);
      for (let i = 0; i < xyz.length; i++) between[i] = from[i] + (xyz[i] - from[i]) * ease;
      this.shown = t < 1 ? between : xyz;
      for (const name of Object.keys(target)) this.camera[name] = begin[name] + (target[name] - begin[name]) * ease;
      this.moving = t < 1;
      this.paint();
      if (this.moving) requestAnimationFrame(step);
      else this.painted();
    };
    requestAnimationFrame(step);
  }

  painted() {
    this.root.dataset.painted = String(this.state.length);
    this.root.dataset.view = `${this.data.unit}/${this.data.method}/${this.data.by}`;
    this.root.dataset.dims = String(this.dims);
    performance.mark("latent-map-painted", { detail: this.state.length });
    this.describe();
  }

  say(text, problem = false) {
    const message = this.find(".message");
    message.textContent = text;
    message.classList.toggle("problem", problem);
  }

  // For those who do not see the map: politely, and not at every move of a pointer.
  tell(text) {
    this.find(".announcement").textContent = text;
  }

  describe() {
    if (!this.colours || !this.state.length) return;
    const { data } = this;
    const [all, shown, chosen] = [this.state.length, this.visible, this.chosen.size].map(formatCount);
    const turned = this.dims === 3 ? "turn the map, with Shift they move it" : "move the map";
    const canvas = this.find("canvas.overlay");
    canvas.setAttribute(
      "aria-label",
      `Map of ${all} ${data.unit}s by ${data.methodTitle || data.method} in ${this.dims} dimensions, coloured by ` +
        `${this.colours.title}. Arrow keys ${turned} under a cross that points at the nearest lesion, Enter selects ` +
        "it, plus and minus zoom, 0 shows all, Escape clears the selection.",
    );
    this.tell(`${shown} of ${all} ${data.unit}s shown, ${chosen} selected`);
  }

  readTheme() {
    const style = getComputedStyle(this.root);
    this.text = style.color || "#fff";
    this.textRgb = toRgb(this.text);
    this.accent = accentOf(style);
    const [r, g, b] = this.textRgb;
    this.root.style.setProperty("--map-ground", r + g + b > 380 ? "#000" : "#fff");
    this.groundColour = getComputedStyle(this.stage).backgroundColor;
    this.ground = toRgb(this.groundColour);
    if (this.colours) this.painter.setPalette(this.colours.palette, this.ground, this.textRgb);
  }

  // ---- selection ----------------------------------------------------------------------------------------

  // The point that a row of the model's table belongs to, or -1.
  pointOf(row) {
    if (this.data.unit === "slice") return row < this.state.length ? row : -1;
    const of = this.lesions?.point_of_row;
    return of && row < of.length ? of[row] : -1;
  }

  nameOf(point) {
    return patientOf(this.lesions, point);
  }

  choose() {
    this.chosen = new Set(this.rows.map((row) => this.pointOf(row)).filter((point) => point >= 0));
    this.root.dataset.selected = String(this.chosen.size);
    this.restate();
  }

  // What each point is at the moment: set back by filter or legend, selected, dimmed by a selection, or plain.
  restate() {
    const { state, mask, colours, chosen } = this;
    if (!colours || colours.index.length !== state.length) return;
    const { index } = colours;
    const { hidden } = this.legend;
    const other = chosen.size ? DIM : PLAIN;
    const masked = mask && mask.length === state.length ? mask : null;
    let visible = 0;
    for (let i = 0; i < state.length; i++) {
      const shown = !hidden[index[i] + 1] && (!masked || masked[i]);
      state[i] = shown ? other : GHOST;
      visible += shown ? 1 : 0;
    }
    for (const i of chosen) if (state[i] !== GHOST) state[i] = CHOSEN;
    this.visible = visible;
    this.root.dataset.shown = String(visible);
    if (this.hovered >= 0 && state[this.hovered] === GHOST) this.hover(-1);
    this.describe();
    this.draw();
  }

  pointable(i) {
    return this.state[i] !== GHOST;
  }

  select(points, add, focus = null) {
    if (!this.data.selectable || !this.lesions) return;
    const rows = points.map((point) => this.lesions.row[point]);
    if (add) {
      const all = new Set(this.rows);
      // Shift and click on a selected point takes it out again.
      if (focus !== null && this.chosen.has(points[0])) {
        this.rows.forEach((row) => this.pointOf(row) === points[0] && all.delete(row));
        focus = null;
      } else rows.forEach((row) => all.add(row));
      this.rows = [...all];
    } else this.rows = rows;
    this.selectionId += 1;
    this.choose();
    this.setStateValue("selection", { id: this.selectionId, rows: this.rows, focus });
    this.beside("lungvae:map-selection", { rows: this.rows, id: this.selectionId });
  }

  drawPath(points) {
    if (!this.data.paths || this.dims === 3 || (!points && !this.path)) return;
    this.path = points;
    this.root.dataset.path = String(points ? points.length : 0);
    this.drawOverlay();
    this.tell(points ? `Path of ${points.length} places` : "No path");
    if (points && points.length < 2) return;
    this.pathId += 1;
    const rounded = points?.map((place) => place.map((value) => Number(value.toFixed(4)))) ?? null;
    this.setStateValue("path", { id: this.pathId, points: rounded });
  }

  // ---- maps beside, and views that walk ---------------------------------------------------------------------

  beside(name, detail) {
    if (!this.data.link) return;
    window.dispatchEvent(new CustomEvent(name, { detail: { ...detail, link: this.data.link, from: this } }));
  }

  isBeside(detail) {
    return Boolean(this.data?.link && detail.link === this.data.link && detail.from !== this);
  }

  hoverBeside(detail) {
    if (!this.isBeside(detail)) return;
    const point = detail.row < 0 ? -1 : this.pointOf(detail.row);
    if (point === this.linked) return;
    this.linked = point;
    this.root.dataset.linked = String(point >= 0 ? detail.row : -1);
    this.drawOverlay();
  }

  selectBeside(detail) {
    if (!this.isBeside(detail)) return;
    this.rows = detail.rows;
    this.selectionId = Math.max(this.selectionId, detail.id);
    this.choose();
  }

  // A live view tells where on the map its code lies.
  place({ model, xy, label, unit, method }) {
    const { data } = this;
    if (!data || model !== data.model || !Array.isArray(xy) || !this.shown || this.dims === 3) return;
    if ((unit && unit !== data.unit) || (method && method !== data.method)) return;
    this.liveLabel = label || "";
    this.layers.move([Number(xy[0]), Number(xy[1])]);
    this.root.dataset.place = `${xy[0]},${xy[1]}`;
  }

  // ---- pointing --------------------------------------------------------------------------------------------

  hover(point, x = 0, y = 0) {
    if (point !== this.hovered) {
      this.hovered = point;
      this.root.dataset.hover = point >= 0 ? "1" : "0";
      this.drawOverlay();
      if (this.data) this.beside("lungvae:map-hover", { row: point >= 0 && this.lesions ? this.lesions.row[point] : -1 });
    }
    if (point < 0 || !this.lesions) this.card.hide();
    else this.card.show(point, x, y);
  }

  // ---- drawing --------------------------------------------------------------------------------------------

  get width() {
    return this.stage.clientWidth;
  }

  get height() {
    return this.data.height - 2;
  }

  get radius() {
    const many = this.state.length;
    const base = many > 50_000 ? 1.4 : many > 6000 ? 2.1 : many > 1000 ? 3 : 4.5;
    return Math.min(base * Math.sqrt(Math.max(this.camera.zoomedBy, 0.6)), 8);
  }

  fit() {
    const turned = this.dims === 3 ? TURNED : {};
    Object.assign(this.camera, this.camera.fitted(this.xyz, this.dims, this.width, this.height), turned);
    this.zoomed = false;
    this.draw();
  }

  spin(on) {
    this.spinning = on && this.dims === 3;
    this.find("[data-do=spin]").setAttribute("aria-pressed", String(Boolean(this.spinning)));
    if (!this.spinning) return;
    let before = performance.now();
    const step = (now) => {
      if (this.gone || !this.spinning) return;
      this.camera.yaw += (SPIN * Math.min(now - before, 100)) / 1000;
      before = now;
      this.paint();
      requestAnimationFrame(step);
    };
    requestAnimationFrame(step);
  }

  // Everything anew at the next frame; then `done`.
  draw(done) {
    if (done) this.afterwards = done;
    this.dirty.points = true;
    this.schedule();
  }

  drawOverlay() {
    this.dirty.overlay = true;
    this.schedule();
  }

  schedule() {
    if (this.frame) return;
    this.frame = requestAnimationFrame(() => {
      this.frame = 0;
      if (this.gone) return;
      if (this.dirty.points) this.paint();
      else if (this.dirty.overlay) this.paintOverlay();
      const done = this.afterwards;
      this.afterwards = null;
      if (done) done();
    });
  }

  paint() {
    this.dirty = {};
    if (!this.shown || !this.colours || this.gone || !this.width) return;
    this.ratio = window.devicePixelRatio || 1;
    const { camera, width, height, ratio, sx, sy, depth, state } = this;
    camera.project(this.shown, sx, sy, depth, width, height);
    const inSight = this.painter.paint({
      sx, sy, depth, state, width, height, ratio,
      deep: camera.deep,
      index: this.colours.index,
      radius: this.radius,
      edge: this.chosen.size > 250 ? 0.7 : 1.6, // a wide edge would hide a large selection's colours
      most: THUMBNAILS_BELOW,
    });
    this.thumbnails = inSight.length <= THUMBNAILS_BELOW && camera.zoomedBy > 2.5;
    if (this.thumbnails) this.paintThumbnails(inSight);
    this.root.dataset.zoom = camera.zoomedBy.toFixed(2);
    if (camera.deep) this.root.dataset.turned = `${camera.yaw.toFixed(2)},${camera.pitch.toFixed(2)}`;
    this.layers.resize();
    this.layers.paintLines();
    this.layers.paintOverlay();
  }

  paintOverlay() {
    this.dirty = {};
    if (this.shown && this.ratio) this.layers.paintOverlay();
  }

  paintThumbnails(inSight) {
    if (!this.sprites || !this.lesions) return;
    const { ratio, colours } = this;
    const { context } = this.painter;
    const side = 40 * ratio;
    for (const i of inSight) {
      const [x, y] = [this.sx[i] * ratio, this.sy[i] * ratio];
      const of = colours.index[i];
      const chosen = this.state[i] === CHOSEN;
      context.fillStyle = chosen ? this.text : of < 0 ? UNKNOWN : colours.palette[of];
      const edge = (chosen ? 4 : 2.5) * ratio;
      context.fillRect(x - side / 2 - edge, y - side / 2 - edge, side + 2 * edge, side + 2 * edge);
      drawSprite(this.sprites, context, this.lesions.row[i], x - side / 2, y - side / 2, side);
    }
  }
}

export default component(MapView);
