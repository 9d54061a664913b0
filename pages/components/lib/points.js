// Points as pixels, blended by hand into one image: thousands of calls of drawImage take a second where there
// is no GPU, and this takes milliseconds. A point is a stamp: the pixels that it covers and how much.

import { asPixel, fromHex, UNKNOWN } from "./colours.js";

// What a point is at the moment.
export const GHOST = 0;
export const DIM = 1;
export const PLAIN = 2;
export const CHOSEN = 3;

const LEVELS = 8; // of depth: nearer points are larger and clearer
const ALPHA = { ghost: 0.16, dim: 0.28, plain: 0.88, unknown: 0.6 };

const covered = (distance, reach) => Math.min(Math.max(reach + 0.5 - distance, 0), 1);
const SHAPES = {
  disc: covered,
  // A value that is not known is no colour of the scale, but a ring.
  ring: (distance, reach, ratio) =>
    covered(distance, reach * 0.95) - covered(distance, reach * 0.95 - 1.1 * ratio),
};

export class PointPainter {
  constructor(canvas) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d", { alpha: false });
    this.stamps = new Map();
    this.order = new Uint32Array(0);
  }

  // The palette ("#rrggbb" each) as numbers, a row a level of depth; farther ones fade into the ground.
  setPalette(palette, ground, text) {
    const colours = [UNKNOWN, ...palette].map(fromHex);
    this.ground = asPixel(ground);
    this.text = this.pack(text);
    this.under = this.pack(ground);
    const count = colours.length;
    this.count = count;
    this.rb = new Int32Array(count * LEVELS);
    this.g = new Int32Array(count * LEVELS);
    for (let level = 0; level < LEVELS; level++) {
      const fade = 0.62 * (1 - level / (LEVELS - 1));
      colours.forEach((colour, i) => {
        const mixed = colour.map((value, c) => Math.round(value + (ground[c] - value) * fade));
        [this.rb[level * count + i], this.g[level * count + i]] = this.pack(mixed);
      });
    }
  }

  pack([r, g, b]) {
    return [(b << 16) | r, g << 8];
  }

  // Points are drawn in a fixed random order, so that no patient or label lies on top by its place in the table.
  shuffle(count) {
    if (this.order.length === count) return;
    this.order = Uint32Array.from({ length: count }, (_, i) => i);
    let seed = 7;
    for (let i = count - 1; i > 0; i--) {
      seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
      const j = seed % (i + 1);
      [this.order[i], this.order[j]] = [this.order[j], this.order[i]];
    }
    this.sorted = new Uint32Array(count);
  }

  // Far points first, by counting.
  byDepth(depth) {
    const bins = new Uint32Array(257);
    const bin = (i) => Math.min(Math.max((depth[i] * 256) | 0, 0), 255);
    for (let i = 0; i < depth.length; i++) bins[bin(i) + 1]++;
    for (let b = 1; b < 257; b++) bins[b] += bins[b - 1];
    for (let i = 0; i < depth.length; i++) this.sorted[bins[bin(i)]++] = i;
    return this.sorted;
  }

  resize(width, height, ratio, reach) {
    const [w, h] = [Math.round(width * ratio), Math.round(height * ratio)];
    if (this.canvas.width !== w || this.canvas.height !== h) {
      this.canvas.width = w;
      this.canvas.height = h;
    }
    // A margin on all sides, so that no stamp needs to be cut.
    const margin = 2 * Math.ceil(reach) + 4;
    if (this.picture && this.w === w && this.h === h && this.margin === margin) return;
    Object.assign(this, { w, h, margin, stride: w + 2 * margin });
    this.picture = new ImageData(this.stride, h + 2 * margin);
    this.pixels = new Uint32Array(this.picture.data.buffer);
    this.stamps.clear();
  }

  stamp(shape, radius, alpha, ratio) {
    const reach = Math.round(radius * ratio * 4) / 4;
    const key = `${shape}/${reach}/${alpha}`;
    let made = this.stamps.get(key);
    if (made) return made;
    if (this.stamps.size > 300) this.stamps.clear();
    const half = Math.ceil(reach) + 1;
    const [at, weight] = [[], []];
    for (let y = -half; y <= half; y++) {
      for (let x = -half; x <= half; x++) {
        const w = Math.round(256 * alpha * SHAPES[shape](Math.hypot(x, y), reach, ratio));
        if (w > 0) {
          at.push(y * this.stride + x);
          weight.push(w);
        }
      }
    }
    made = { at: Int32Array.from(at), weight: Int32Array.from(weight) };
    this.stamps.set(key, made);
    return made;
  }

  // Two channels at once: red and blue lie far enough apart in one number not to disturb each other.
  put(stamp, centre, rb, g) {
    const { at, weight } = stamp;
    const { pixels } = this;
    for (let n = 0; n < at.length; n++) {
      const j = centre + at[n];
      const w = weight[n];
      const v = 256 - w;
      const below = pixels[j];
      pixels[j] =
        0xff000000 |
        (((Math.imul(below & 0xff00ff, v) + Math.imul(rb, w)) >>> 8) & 0xff00ff) |
        (((Math.imul(below & 0xff00, v) + Math.imul(g, w)) >>> 8) & 0xff00);
    }
  }

  // Paint the points sx, sy (N,) and return up to `most` + 1 of those in sight that are not set back.
  paint({ sx, sy, depth, deep, state, index, radius, edge, ratio, width, height, most }) {
    const largest = deep ? radius * 1.4 : radius;
    this.resize(width, height, ratio, (largest + edge) * ratio);
    const { w, h, margin, stride, count } = this;
    this.pixels.fill(this.ground);
    const sizes = Array.from({ length: deep ? LEVELS : 1 }, (_, level) =>
      deep ? radius * (0.6 + (0.8 * level) / (LEVELS - 1)) : radius,
    );
    const each = (shape, alpha, more = 0) => sizes.map((size) => this.stamp(shape, size + more, alpha, ratio));
    const ghost = this.stamp("disc", 0.8, ALPHA.ghost, ratio);
    const discs = [null, each("disc", ALPHA.dim), each("disc", ALPHA.plain), each("disc", 1)];
    const unknown = [null, each("ring", ALPHA.dim), each("ring", ALPHA.unknown), each("ring", 1)];
    const behind = each("disc", 1, edge);
    const full = discs[CHOSEN];
    const order = deep ? this.byDepth(depth) : this.order;
    const [inSight, late] = [[], []];
    const slack = margin >> 1;
    for (let n = 0; n < order.length; n++) {
      const i = order[n];
      const x = Math.round(sx[i] * ratio);
      const y = Math.round(sy[i] * ratio);
      if (!(x >= -slack && y >= -slack && x < w + slack && y < h + slack)) continue;
      const centre = (y + margin) * stride + x + margin;
      const now = state[i];
      if (now === GHOST) {
        this.put(ghost, centre, this.text[0], this.text[1]);
        continue;
      }
      if (inSight.length <= most) inSight.push(i);
      const level = deep ? Math.min(Math.max((depth[i] * LEVELS) | 0, 0), LEVELS - 1) : 0;
      if (now === CHOSEN) {
        late.push(i, centre, level);
        continue;
      }
      const colour = (deep ? level : LEVELS - 1) * count + index[i] + 1;
      this.put((index[i] < 0 ? unknown : discs)[now][level], centre, this.rb[colour], this.g[colour]);
    }
    for (let n = 0; n < late.length; n += 3) {
      const [i, centre, level] = [late[n], late[n + 1], late[n + 2]];
      const colour = (LEVELS - 1) * count + index[i] + 1;
      this.put(behind[level], centre, this.text[0], this.text[1]);
      if (index[i] < 0) this.put(full[level], centre, this.under[0], this.under[1]);
      this.put((index[i] < 0 ? unknown : discs)[CHOSEN][level], centre, this.rb[colour], this.g[colour]);
    }
    this.context.putImageData(this.picture, -margin, -margin, margin, margin, w, h);
    return inSight;
  }
}
