// The small map beside the sliders: where the code lies, and where it came from.

import { Camera } from "../lib/camera.js";
import { VERMILLION } from "../lib/colours.js";
import { strokeEdged } from "../lib/curves.js";
import { element, toRgb } from "../lib/elements.js";
import { colours, places } from "../lib/places.js";
import { PLAIN, PointPainter } from "../lib/points.js";

const MARGIN = 18; // pixels around the points

export class MiniMap {
  constructor(canvas) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d");
    this.camera = new Camera();
    this.painter = new PointPainter(element("canvas"));
    this.trail = [];
  }

  async take({ api, hasMap }) {
    this.canvas.hidden = !hasMap;
    if (!hasMap || api === this.api) return this.paintGround(); // the page's theme may be another
    this.api = api;
    this.ground = null;
    try {
      const ground = await load(api);
      if (this.api !== api) return;
      this.ground = ground;
      this.paintGround();
    } catch {
      this.canvas.hidden = true; // the sliders work without
    }
  }

  paintGround() {
    if (!this.ground) return;
    const { xyz, palette, index } = this.ground;
    const { width, height } = this.canvas;
    const { painter } = this;
    const count = index.length;
    const [sx, sy] = [new Float32Array(count), new Float32Array(count)];
    Object.assign(this.camera, this.camera.fitted(xyz, 2, width, height, [MARGIN, MARGIN]));
    this.camera.project(xyz, sx, sy, null, width, height);
    const style = getComputedStyle(this.canvas);
    painter.setPalette(palette, toRgb(style.backgroundColor), toRgb(style.color));
    painter.shuffle(count);
    const state = new Uint8Array(count).fill(PLAIN);
    painter.paint({ sx, sy, state, index, radius: 0.9, edge: 0, ratio: 1, width, height, most: 0 });
    this.show(this.trail);
  }

  show(trail) {
    this.trail = trail;
    if (!this.ground) return;
    const { context, canvas } = this;
    context.drawImage(this.painter.canvas, 0, 0);
    if (!trail.length) return;
    const line = trail.map(([x, y]) => this.camera.toScreen(x, y, canvas.width, canvas.height));
    context.beginPath();
    for (const place of line) context.lineTo(...place);
    strokeEdged(context, VERMILLION, 2, 2);
    context.beginPath();
    context.arc(...line.at(-1), 7, 0, 7);
    context.fillStyle = VERMILLION;
    context.fill();
    context.strokeStyle = "#ffffff";
    context.stroke();
  }
}

async function load(api) {
  const by = (name) => colours({ api, unit: "slice", by: name });
  const [xyz, legend] = await Promise.all([
    places({ api, unit: "slice", method: "umap" }),
    by("malignancy").catch(() => by("patient")),
  ]);
  return { xyz, ...legend };
}
