// The latent map: points on a canvas, a hover card, and selection by click, lasso and box.
//
// Streamlit calls the default export once when the component appears and again whenever its data changes. One
// MapView lives as long as the element does; everything that is fetched is kept for the whole browser tab.

const SPRITE = 32; // pixels a side in the sheet of sprites
const SPRITES_A_LINE = 128;
const UNKNOWN = "#9aa0a6";
const NEAR = 14; // CSS pixels within which a point counts as pointed at
const MORPH_MS = 550;
const THUMBNAILS_BELOW = 110; // so few points in sight are drawn as their images

// Any CSS colour as [red, green, blue], 0 to 255 each.
const probe = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
function rgb(colour) {
  probe.clearRect(0, 0, 1, 1);
  probe.fillStyle = colour;
  probe.fillRect(0, 0, 1, 1);
  return [...probe.getImageData(0, 0, 1, 1).data.slice(0, 3)];
}
const UNKNOWN_RGB = rgb(UNKNOWN);

const views = new WeakMap();
const kept = new Map(); // address -> promise of what it answered

export default function (component) {
  const { data, parentElement, setStateValue } = component;
  let view = views.get(parentElement);
  if (!view) {
    view = new MapView(parentElement);
    views.set(parentElement, view);
  }
  view.update(data, setStateValue);
  return () => {
    view.destroy();
    views.delete(parentElement);
  };
}

async function get(address, read) {
  if (!kept.has(address)) {
    if (kept.size > 60) kept.delete(kept.keys().next().value);
    const answer = fetch(address).then(async (response) => {
      if (response.ok) return read(response);
      const problem = await response.json().catch(() => ({}));
      throw new Error(problem.error || "The server did not answer. Reload the page.");
    });
    answer.catch(() => kept.delete(address));
    kept.set(address, answer);
  }
  return kept.get(address);
}

const json = (response) => response.json();
const floats = async (response) => new Float32Array(await response.arrayBuffer());

// The sheet of all small images, or null while the server is still making it.
async function sheet(api) {
  const address = `${api}/sprites`;
  const found = await get(address, async (response) =>
    response.status === 202 ? null : createImageBitmap(await response.blob()),
  );
  if (!found) kept.delete(address);
  return found;
}

class MapView {
  constructor(parent) {
    this.root = parent.querySelector(".map");
    this.stage = this.root.querySelector(".stage");
    this.points = this.root.querySelector("canvas.points");
    this.overlay = this.root.querySelector("canvas.overlay");
    this.card = this.root.querySelector(".card");
    this.legend = this.root.querySelector(".legend");
    this.message = this.root.querySelector(".message");
    this.context = this.points.getContext("2d");
    this.above = this.overlay.getContext("2d");
    this.xy = null; // Float32Array of x, y; where the points are going
    this.shown = null; // where they are drawn now
    this.colours = null;
    this.lesions = null;
    this.sprites = null;
    this.images = new Map(); // row -> Image at 64x64
    this.rows = []; // selected rows of the model's table
    this.chosen = new Set(); // the same as points
    this.selectionId = 0;
    this.hovered = -1;
    this.isolated = null; // the legend's category that stands out
    this.tool = "lasso";
    this.view = null; // {x, y, k}: what is in the middle, and pixels a unit
    this.drag = null;
    this.loading = 0;
    this.listen();
    this.setTool("lasso");
  }

  destroy() {
    this.gone = true;
    this.resizing.disconnect();
    clearTimeout(this.spriteTimer);
    clearTimeout(this.sharpTimer);
    cancelAnimationFrame(this.frame);
  }

  // ---- data -------------------------------------------------------------------------------------------

  update(data, setStateValue) {
    const before = this.data;
    this.data = data;
    this.setStateValue = setStateValue;
    this.stage.style.height = `${data.height}px`;
    this.root.classList.toggle("fixed", !data.selectable);
    this.readTheme();
    if (before && before.api !== data.api) {
      this.sprites = null;
      this.images.clear();
    }
    if (data.selection.id > this.selectionId || !before) {
      this.selectionId = Math.max(this.selectionId, data.selection.id);
      this.rows = data.selection.rows;
    }
    const same = (...names) => before && names.every((name) => before[name] === data[name]);
    const anew = !same("api", "unit");
    if (anew) this.forget();
    if (!same("api", "unit", "method", "by")) this.load(anew);
    this.choose();
  }

  // The points of another unit or model are other points: nothing of the old ones may be drawn or pointed at.
  forget() {
    this.hover(-1);
    this.lesions = null;
    this.xy = null;
    this.shown = null;
    delete this.root.dataset.ready;
  }

  async load(anew) {
    const turn = ++this.loading;
    const { api, unit, method, by } = this.data;
    const current = () => turn === this.loading && !this.gone;
    if (anew) this.say("Loading the map…");
    try {
      const [xy, colours] = await Promise.all([
        get(`${api}/points?unit=${unit}&method=${method}`, floats),
        get(`${api}/colours?unit=${unit}&by=${encodeURIComponent(by)}`, json),
      ]);
      if (!current()) return;
      this.hover(-1);
      this.setColours(colours);
      this.moveTo(xy, anew);
      this.say("");
      const lesions = await get(`${api}/lesions?unit=${unit}`, json);
      if (!current()) return;
      this.lesions = lesions;
      this.choose();
      this.root.dataset.ready = unit;
      this.loadSprites(api);
    } catch (error) {
      if (current()) this.say(error.message, true);
    }
  }

  async loadSprites(api) {
    if (this.sprites || this.gone || this.data.api !== api) return;
    try {
      const found = await sheet(api);
      if (this.data.api !== api) return;
      this.sprites = found;
      if (found) this.draw();
      // Until it is made, each card asks for its own image.
      else this.spriteTimer = setTimeout(() => this.loadSprites(api), 4000);
    } catch {
      // Cards still ask for their own image.
    }
  }

  setColours(colours) {
    this.colours = colours;
    this.rgbPalette = colours.palette.map(rgb);
    this.isolated = null;
    this.showLegend();
  }

  moveTo(xy, anew) {
    const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
    const from = this.shown;
    this.xy = xy;
    if (xy === this.shown) return this.draw(() => this.painted());
    this.shuffle(xy.length / 2);
    const target = this.fitted(xy);
    if (anew || calm || !from || from.length !== xy.length) {
      this.shown = xy;
      this.view = target;
      this.zoomed = false;
      return this.draw(() => this.painted());
    }
    const start = performance.now();
    const begin = { ...this.view };
    const between = new Float32Array(xy.length);
    const step = () => {
      if (this.gone || this.xy !== xy) return;
      const t = Math.min((performance.now() - start) / MORPH_MS, 1);
      const ease = t < 0.5 ? 2 * t * t : 1 - 2 * (1 - t) * (1 - t);
      for (let i = 0; i < xy.length; i++) between[i] = from[i] + (xy[i] - from[i]) * ease;
      this.shown = t < 1 ? between : xy;
      for (const name of ["x", "y", "k"]) this.view[name] = begin[name] + (target[name] - begin[name]) * ease;
      this.zoomed = false;
      this.paint();
      if (t < 1) requestAnimationFrame(step);
      else this.painted();
    };
    requestAnimationFrame(step);
  }

  // Points are drawn in a fixed random order, so that no patient or label lies on top by its place in the table.
  shuffle(count) {
    if (this.order && this.order.length === count) return;
    this.order = Uint32Array.from({ length: count }, (_, i) => i);
    let seed = 7;
    for (let i = count - 1; i > 0; i--) {
      seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
      const j = seed % (i + 1);
      [this.order[i], this.order[j]] = [this.order[j], this.order[i]];
    }
  }

  painted() {
    const count = this.xy.length / 2;
    this.root.dataset.painted = String(count);
    this.root.dataset.view = `${this.data.unit}/${this.data.method}/${this.data.by}`;
    performance.mark("latent-map-painted", { detail: count });
  }

  say(text, problem = false) {
    this.message.textContent = text;
    this.message.classList.toggle("problem", problem);
  }

  readTheme() {
    const style = getComputedStyle(this.root);
    this.text = style.color || "#fff";
    this.textRgb = rgb(this.text);
    this.accent = style.getPropertyValue("--st-primary-color").trim() || "#56b4e9";
    const [r, g, b] = this.textRgb;
    this.root.style.setProperty("--map-ground", r + g + b > 380 ? "#000" : "#fff");
    this.ground = rgb(getComputedStyle(this.stage).backgroundColor);
  }

  // ---- selection ----------------------------------------------------------------------------------------

  choose() {
    const { lesions, rows } = this;
    this.chosen = new Set();
    if (this.data.unit === "slice") rows.forEach((row) => this.chosen.add(row));
    else if (lesions) rows.forEach((row) => this.chosen.add(lesions.point_of_row[row]));
    this.root.dataset.selected = String(this.chosen.size);
    this.draw();
  }

  select(points, add, focus = null) {
    if (!this.data.selectable || !this.lesions) return;
    const rows = points.map((point) => this.lesions.row[point]);
    if (add) {
      const all = new Set(this.rows);
      // Shift and click on a selected point takes it out again.
      if (focus !== null && this.chosen.has(points[0])) {
        const point = points[0];
        const of = this.lesions.point_of_row;
        this.rows.forEach((row) => (of ? of[row] : row) === point && all.delete(row));
        focus = null;
      } else rows.forEach((row) => all.add(row));
      this.rows = [...all];
    } else this.rows = rows;
    this.selectionId += 1;
    this.choose();
    this.setStateValue("selection", { id: this.selectionId, rows: this.rows, focus });
  }

  // ---- drawing --------------------------------------------------------------------------------------------

  get width() {
    return this.stage.clientWidth;
  }

  get height() {
    return this.data.height - 2;
  }

  fitted(xy) {
    let [left, right, low, high] = [Infinity, -Infinity, Infinity, -Infinity];
    for (let i = 0; i < xy.length; i += 2) {
      left = Math.min(left, xy[i]);
      right = Math.max(right, xy[i]);
      low = Math.min(low, xy[i + 1]);
      high = Math.max(high, xy[i + 1]);
    }
    // One scale for both axes, or distances would differ by direction.
    const k = Math.min((this.width - 110) / (right - left || 1), (this.height - 50) / (high - low || 1));
    this.smallest = k;
    return { x: (left + right) / 2, y: (low + high) / 2, k };
  }

  draw(then) {
    if (then) this.afterwards = then;
    cancelAnimationFrame(this.frame);
    this.frame = requestAnimationFrame(() => {
      this.paint();
      const done = this.afterwards;
      this.afterwards = null;
      if (done) done();
    });
  }

  resize() {
    this.ratio = window.devicePixelRatio || 1;
    const [width, height] = [Math.round(this.width * this.ratio), Math.round(this.height * this.ratio)];
    if (this.points.width === width && this.points.height === height) return;
    for (const canvas of [this.points, this.overlay]) [canvas.width, canvas.height] = [width, height];
  }

  radius() {
    const many = this.xy.length / 2;
    const base = many > 6000 ? 2.1 : many > 1000 ? 3 : 4.5;
    return Math.min(base * Math.sqrt(Math.max(this.view.k / this.smallest, 0.6)), 8);
  }

  // The three shapes of a point as coverage, 0..1: a disc, a wider one behind it where it is selected, and a
  // small ring where the value is not known, so that it is no colour of the scale.
  makeMasks(radius) {
    const edge = this.chosen.size > 250 ? 0.7 : 1.6; // a wide edge would hide a large selection's colours
    const made = `${radius}/${edge}/${this.ratio}`;
    if (this.masks && this.masks.made === made) return this.masks;
    const r = radius * this.ratio;
    const wide = r + edge * this.ratio;
    const half = Math.ceil(wide) + 1;
    const size = 2 * half + 1;
    const [disc, behind, ring] = [0, 1, 2].map(() => new Float32Array(size * size));
    const inside = (distance, reach) => Math.min(Math.max(reach + 0.5 - distance, 0), 1);
    for (let i = 0; i < size * size; i++) {
      const distance = Math.hypot((i % size) - half, Math.floor(i / size) - half);
      disc[i] = inside(distance, r);
      behind[i] = inside(distance, wide);
      ring[i] = inside(distance, r * 0.95) - inside(distance, r * 0.95 - 1.1 * this.ratio);
    }
    this.masks = { made, half, size, disc, behind, ring };
    return this.masks;
  }

  paint() {
    if (!this.shown || !this.colours || this.gone || !this.width) return;
    this.resize();
    const { context, ratio, shown, order, chosen } = this;
    const { index } = this.colours;
    const { half, size, disc, behind, ring } = this.makeMasks(this.radius());
    const [w, h] = [this.points.width, this.points.height];
    // Blended by hand into one image: thousands of calls of drawImage take a second where there is no GPU.
    if (!this.picture || this.picture.width !== w || this.picture.height !== h)
      this.picture = context.createImageData(w, h);
    const pixels = this.picture.data;
    const [gr, gg, gb] = this.ground;
    new Uint32Array(pixels.buffer).fill(((255 << 24) | (gb << 16) | (gg << 8) | gr) >>> 0);
    const palette = this.rgbPalette;
    const k = this.view.k * ratio;
    const [dx, dy] = [w / 2 - this.view.x * k, h / 2 + this.view.y * k];
    const put = (mask, i, colour, alpha) => {
      const left = Math.round(shown[2 * i] * k + dx) - half;
      const top = Math.round(dy - shown[2 * i + 1] * k) - half;
      const [x0, x1] = [Math.max(left, 0), Math.min(left + size, w)];
      const [y0, y1] = [Math.max(top, 0), Math.min(top + size, h)];
      const [r, g, b] = colour;
      for (let y = y0; y < y1; y++) {
        let at = 4 * (y * w + x0);
        let from = (y - top) * size + x0 - left;
        for (let x = x0; x < x1; x++, at += 4) {
          const a = mask[from++] * alpha;
          if (a === 0) continue;
          pixels[at] += (r - pixels[at]) * a;
          pixels[at + 1] += (g - pixels[at + 1]) * a;
          pixels[at + 2] += (b - pixels[at + 2]) * a;
        }
      }
    };
    const point = (i, alpha) =>
      index[i] < 0 ? put(ring, i, UNKNOWN_RGB, alpha) : put(disc, i, palette[index[i]], alpha);
    const inSight = [];
    const late = [];
    const any = chosen.size > 0;
    const alone = this.isolated;
    for (let n = 0; n < order.length; n++) {
      const i = order[n];
      const px = shown[2 * i] * k + dx;
      const py = dy - shown[2 * i + 1] * k;
      if (px < -half || py < -half || px > w + half || py > h + half) continue;
      if (inSight.length <= THUMBNAILS_BELOW) inSight.push(i);
      const of = index[i];
      if (any && chosen.has(i)) late.push(i);
      else point(i, alone !== null && of !== alone ? 0.07 : any ? 0.28 : of < 0 ? 0.6 : 0.88);
    }
    for (const i of late) {
      put(behind, i, this.textRgb, 1);
      if (index[i] < 0) put(disc, i, this.ground, 1);
      point(i, 1);
    }
    context.putImageData(this.picture, 0, 0);
    this.thumbnails = inSight.length <= THUMBNAILS_BELOW && this.view.k > this.smallest * 2.5;
    if (this.thumbnails) this.paintThumbnails(inSight);
    this.root.dataset.zoom = (this.view.k / this.smallest).toFixed(2);
    this.paintOverlay();
  }

  paintThumbnails(inSight) {
    if (!this.sprites || !this.lesions) return;
    const { context, ratio } = this;
    const side = 40 * ratio;
    for (const i of inSight) {
      if (!this.visible(i)) continue;
      const [x, y] = this.toScreen(i).map((value) => value * ratio);
      const of = this.colours.index[i];
      const chosen = this.chosen.has(i);
      context.fillStyle = chosen ? this.text : of < 0 ? UNKNOWN : this.colours.palette[of];
      const edge = (chosen ? 4 : 2.5) * ratio;
      context.fillRect(x - side / 2 - edge, y - side / 2 - edge, side + 2 * edge, side + 2 * edge);
      this.drawSprite(context, this.lesions.row[i], x - side / 2, y - side / 2, side);
    }
  }

  drawSprite(context, row, x, y, side) {
    const [sx, sy] = [(row % SPRITES_A_LINE) * SPRITE, Math.floor(row / SPRITES_A_LINE) * SPRITE];
    context.imageSmoothingQuality = "high";
    context.drawImage(this.sprites, sx, sy, SPRITE, SPRITE, x, y, side, side);
  }

  toScreen(i) {
    return this.placeOnScreen(this.shown[2 * i], this.shown[2 * i + 1]);
  }

  placeOnScreen(x, y) {
    const { view } = this;
    return [this.width / 2 + (x - view.x) * view.k, this.height / 2 - (y - view.y) * view.k];
  }

  paintOverlay() {
    const { above, ratio } = this;
    above.setTransform(ratio, 0, 0, ratio, 0, 0);
    above.clearRect(0, 0, this.width, this.height);
    if (!this.shown) return;
    this.paintNeighbours();
    if (this.hovered >= 0) this.paintHover();
    if (this.drag && this.drag.path) {
      above.beginPath();
      this.drag.path.forEach(([x, y]) => above.lineTo(x, y));
      above.closePath();
      above.fillStyle = "rgba(86, 180, 233, 0.14)";
      above.fill();
      above.strokeStyle = this.accent;
      above.lineWidth = 1.5;
      above.setLineDash([5, 4]);
      above.stroke();
      above.setLineDash([]);
    }
  }

  paintHover() {
    const { above, lesions } = this;
    const side = this.thumbnails ? 25 : this.radius() + 3;
    const ring = (i, width) => {
      const [x, y] = this.toScreen(i);
      above.beginPath();
      if (this.thumbnails && this.sprites) above.rect(x - side, y - side, 2 * side, 2 * side);
      else above.arc(x, y, side, 0, 7);
      above.lineWidth = width;
      above.stroke();
    };
    above.strokeStyle = this.text;
    if (lesions && this.data.by === "patient") {
      const own = lesions.patient[this.hovered];
      lesions.patient.forEach((patient, i) => patient === own && ring(i, 1));
    }
    ring(this.hovered, 2);
  }

  paintNeighbours() {
    const { above, data } = this;
    above.font = "600 11px sans-serif";
    above.textAlign = "center";
    above.textBaseline = "middle";
    const of = this.lesions && this.lesions.point_of_row;
    if (this.data.unit === "slice" || of)
      data.neighbours.forEach((row, number) => {
        const [x, y] = this.toScreen(this.data.unit === "slice" ? row : of[row]);
        above.beginPath();
        above.arc(x, y, 9, 0, 7);
        above.fillStyle = "#ffffff";
        above.fill();
        above.lineWidth = 1.5;
        above.strokeStyle = "#0072b2";
        above.stroke();
        above.fillStyle = "#003d5c";
        above.fillText(String(number + 1), x, y + 0.5);
      });
    if (!data.marker) return;
    const [x, y] = this.placeOnScreen(...data.marker);
    above.save();
    above.translate(x, y);
    above.beginPath();
    for (const [dx, dy] of [[0, -15], [15, 0], [0, 15], [-15, 0]]) above.lineTo(dx, dy);
    above.closePath();
    for (const [colour, width] of [["#ffffff", 5.5], ["#d55e00", 3]]) {
      above.strokeStyle = colour;
      above.lineWidth = width;
      above.stroke();
    }
    above.restore();
    if (data.markerLabel) {
      above.font = "600 12px sans-serif";
      above.textAlign = x > this.width - 160 ? "right" : "left";
      const at = x + (x > this.width - 160 ? -21 : 21);
      above.lineWidth = 4;
      above.strokeStyle = "rgba(0, 0, 0, 0.75)";
      above.strokeText(data.markerLabel, at, y);
      above.fillStyle = "#ffffff";
      above.fillText(data.markerLabel, at, y);
    }
  }

  // ---- pointing ------------------------------------------------------------------------------------------

  nearest(x, y) {
    if (!this.shown) return -1;
    const { view, shown } = this;
    const mx = (x - this.width / 2) / view.k + view.x;
    const my = (this.height / 2 - y) / view.k + view.y;
    const reach = (this.thumbnails ? 24 : NEAR) / view.k;
    let [best, least] = [-1, reach * reach];
    for (let i = 0; i < shown.length; i += 2) {
      const dx = shown[i] - mx;
      const dy = shown[i + 1] - my;
      const distance = dx * dx + dy * dy;
      if (distance < least && this.visible(i / 2)) [best, least] = [i / 2, distance];
    }
    return best;
  }

  // Points that the legend has set back are not pointed at.
  visible(i) {
    return this.isolated === null || this.colours.index[i] === this.isolated;
  }

  hover(point, x = 0, y = 0) {
    if (point !== this.hovered) {
      this.hovered = point;
      this.root.dataset.hover = point >= 0 ? "1" : "0";
      clearTimeout(this.sharpTimer);
      if (this.shown) this.paintOverlay();
      if (point >= 0 && this.lesions) this.fillCard(point);
    }
    this.card.hidden = point < 0 || !this.lesions;
    if (this.card.hidden) {
      delete this.root.dataset.card;
      return;
    }
    const [w, h] = [this.card.offsetWidth, this.card.offsetHeight];
    const left = x + 18 + w > this.width ? x - 18 - w : x + 18;
    const top = Math.max(4, Math.min(y - h / 3, this.height - h - 4));
    this.card.style.transform = `translate(${Math.max(4, Math.round(left))}px, ${Math.round(top)}px)`;
  }

  fillCard(point) {
    const { lesions } = this;
    const row = lesions.row[point];
    const context = this.card.querySelector("canvas").getContext("2d");
    const side = context.canvas.width;
    const sharp = this.images.get(row);
    context.imageSmoothingQuality = "high";
    if (sharp && sharp.complete && sharp.naturalWidth) context.drawImage(sharp, 0, 0, side, side);
    else {
      if (this.sprites) this.drawSprite(context, row, 0, 0, side);
      else context.clearRect(0, 0, side, side);
      // The small image is there at once; the full one follows when the pointer rests.
      this.sharpTimer = setTimeout(() => this.fetchImage(row, point, context), this.sprites ? 60 : 0);
    }
    const generated = !lesions.real[point];
    const badge = this.card.querySelector(".badge");
    badge.textContent = generated ? "reconstruction (generated)" : "CT slice";
    badge.classList.toggle("generated", generated);
    const lines = [];
    const nodule = `nodule ${lesions.nodule[point]}`;
    const slices = lesions.slices ? ` of ${lesions.slices[point]}` : "";
    lines.push(`${nodule}, slice ${lesions.slice[point]}${lesions.slices ? " (largest)" : ""}`);
    const rating = lesions.malignancy ? lesions.malignancy[point] : null;
    lines.push(
      rating === null
        ? "Malignancy not rated"
        : `Readers: ${this.data.words[rating] || "rated"} (${rating})`,
    );
    const diameter = lesions.diameter && lesions.diameter[point];
    if (diameter) lines.push(`Diameter ${diameter} mm`);
    const score = lesions.score && lesions.score[point];
    if (score !== null && score !== undefined)
      lines.push(`Model score ${score.toFixed(2)}${slices ? `, mean${slices}` : ""}`);
    const list = this.card.querySelector("dl");
    const title = document.createElement("dt");
    title.textContent = lesions.patients[lesions.patient[point]];
    list.replaceChildren(
      title,
      ...lines.map((line) => {
        const item = document.createElement("dd");
        item.textContent = line;
        return item;
      }),
    );
    this.root.dataset.card = String(row);
  }

  fetchImage(row, point, context) {
    let image = this.images.get(row);
    if (!image) {
      if (this.images.size > 400) this.images.delete(this.images.keys().next().value);
      image = new Image();
      image.src = `${this.data.api}/slices/${row}.png`;
      this.images.set(row, image);
    }
    image.decode().then(
      () => {
        if (this.hovered === point) context.drawImage(image, 0, 0, context.canvas.width, context.canvas.height);
      },
      () => this.images.delete(row),
    );
  }

  // ---- the pointer, the wheel and the keys ----------------------------------------------------------------

  listen() {
    const { overlay } = this;
    const at = (event) => {
      const box = overlay.getBoundingClientRect();
      return [event.clientX - box.left, event.clientY - box.top];
    };
    overlay.onpointerdown = (event) => {
      if (!this.shown) return;
      const [x, y] = at(event);
      const pan = this.tool === "pan" || event.button === 1 || event.button === 2 || !this.data.selectable;
      this.drag = { x, y, pan, add: event.shiftKey, from: { ...this.view }, path: pan ? null : [[x, y]] };
      overlay.setPointerCapture(event.pointerId);
    };
    overlay.onpointermove = (event) => {
      const [x, y] = at(event);
      if (!this.drag) return this.hover(this.nearest(x, y), x, y);
      const { drag } = this;
      drag.moved = drag.moved || Math.hypot(x - drag.x, y - drag.y) > 4;
      if (!drag.moved) return;
      this.hover(-1);
      if (drag.pan) {
        this.view.x = drag.from.x - (x - drag.x) / this.view.k;
        this.view.y = drag.from.y + (y - drag.y) / this.view.k;
        this.zoomed = true;
        this.draw();
      } else {
        if (this.tool === "box") drag.path = [[drag.x, drag.y], [x, drag.y], [x, y], [drag.x, y]];
        else drag.path.push([x, y]);
        this.paintOverlay();
      }
    };
    overlay.onpointerup = (event) => {
      const { drag } = this;
      this.drag = null;
      if (!drag) return;
      const [x, y] = at(event);
      if (!drag.moved) {
        const point = this.nearest(x, y);
        if (event.button !== 0) return;
        if (point >= 0) this.select([point], drag.add, this.lesions && this.lesions.row[point]);
        else if (!drag.add && this.rows.length) this.select([], false);
      } else if (drag.path) {
        this.select(this.inside(drag.path), drag.add);
      }
      this.paintOverlay();
    };
    overlay.onpointercancel = () => (this.drag = null);
    overlay.onpointerleave = () => this.drag || this.hover(-1);
    overlay.oncontextmenu = (event) => event.preventDefault();
    overlay.ondblclick = () => this.fit();
    overlay.addEventListener(
      "wheel",
      (event) => {
        if (!this.shown) return;
        // Zoomed out fully, the wheel scrolls the page again.
        if (event.deltaY > 0 && this.view.k <= this.smallest * 0.86) return;
        event.preventDefault();
        this.zoom(Math.exp(-event.deltaY * 0.0016), ...at(event));
      },
      { passive: false },
    );
    overlay.onkeydown = (event) => this.key(event);
    this.root.querySelectorAll("[data-tool]").forEach((button) => {
      button.onclick = () => this.setTool(button.dataset.tool);
    });
    const actions = {
      in: () => this.zoom(1.5, this.width / 2, this.height / 2),
      out: () => this.zoom(1 / 1.5, this.width / 2, this.height / 2),
      fit: () => this.fit(),
      clear: () => this.select([], false),
    };
    this.root.querySelectorAll("[data-do]").forEach((button) => {
      button.onclick = () => this.shown && actions[button.dataset.do]();
    });
    this.resizing = new ResizeObserver(() => {
      if (!this.shown) return;
      const target = this.fitted(this.xy);
      if (!this.zoomed) this.view = target;
      this.draw();
    });
    this.resizing.observe(this.stage);
  }

  key(event) {
    if (!this.shown) return;
    const step = 60 / this.view.k;
    const moves = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, step], ArrowDown: [0, -step] };
    if (moves[event.key]) {
      this.view.x += moves[event.key][0];
      this.view.y += moves[event.key][1];
      this.zoomed = true;
      this.draw();
    } else if (event.key === "+" || event.key === "=") this.zoom(1.3, this.width / 2, this.height / 2);
    else if (event.key === "-") this.zoom(1 / 1.3, this.width / 2, this.height / 2);
    else if (event.key === "0") this.fit();
    else if (event.key === "Escape") this.select([], false);
    else return;
    event.preventDefault();
  }

  setTool(tool) {
    this.tool = tool;
    this.root.dataset.tool = tool;
    this.root.querySelectorAll("[data-tool]").forEach((button) => {
      button.setAttribute("aria-pressed", String(button.dataset.tool === tool));
    });
  }

  zoom(factor, x, y) {
    const k = Math.min(Math.max(this.view.k * factor, this.smallest * 0.85), this.smallest * 400);
    const mx = (x - this.width / 2) / this.view.k + this.view.x;
    const my = (this.height / 2 - y) / this.view.k + this.view.y;
    this.view = { k, x: mx - (x - this.width / 2) / k, y: my - (this.height / 2 - y) / k };
    this.zoomed = true;
    this.hover(-1);
    this.draw();
  }

  fit() {
    this.view = this.fitted(this.xy);
    this.zoomed = false;
    this.draw();
  }

  inside(path) {
    const found = [];
    const xs = path.map(([x]) => x);
    const ys = path.map(([, y]) => y);
    const [left, right] = [Math.min(...xs), Math.max(...xs)];
    const [top, bottom] = [Math.min(...ys), Math.max(...ys)];
    for (let i = 0; i < this.shown.length / 2; i++) {
      const [x, y] = this.toScreen(i);
      if (x < left || x > right || y < top || y > bottom || !this.visible(i)) continue;
      let odd = false;
      for (let a = 0, b = path.length - 1; a < path.length; b = a++) {
        const [[xa, ya], [xb, yb]] = [path[a], path[b]];
        if (ya > y !== yb > y && x < ((xb - xa) * (y - ya)) / (yb - ya) + xa) odd = !odd;
      }
      if (odd) found.push(i);
    }
    return found;
  }

  // ---- legend --------------------------------------------------------------------------------------------

  showLegend() {
    const { colours, legend } = this;
    const make = (tag, name, text) => {
      const element = document.createElement(tag);
      if (name) element.className = name;
      if (text !== undefined) element.textContent = text;
      return element;
    };
    const parts = [make("h4", "", colours.title)];
    const entry = (number, label, count, colour) => {
      const button = make("button");
      button.type = "button";
      button.title = "Show only these";
      const dot = make("span", colour ? "dot" : "dot unknown");
      if (colour) dot.style.background = colour;
      button.append(dot, make("span", "", label), make("span", "count", count.toLocaleString("en")));
      button.onclick = () => {
        this.isolated = this.isolated === number ? null : number;
        legend.querySelectorAll("button").forEach((other) => {
          other.setAttribute("aria-pressed", String(other === button && this.isolated !== null));
        });
        this.draw();
      };
      parts.push(button);
    };
    colours.labels.forEach((label, i) => entry(i, label, colours.counts[i], colours.palette[i]));
    if (!colours.labels.length && colours.low) {
      const ramp = make("span", "ramp");
      ramp.style.background = `linear-gradient(90deg, ${colours.palette.join(", ")})`;
      const scale = make("span", "scale");
      scale.append(make("span", "", colours.low), ramp, make("span", "", colours.high));
      parts.push(scale);
    }
    if (colours.unknown) entry(-1, "not known", colours.unknown, null);
    if (colours.note) parts.push(make("p", "note", colours.note));
    legend.replaceChildren(...parts);
    legend.hidden = false;
  }
}
