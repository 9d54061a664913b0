// From HU to a canvas: grey levels by window and level, outlines and the box at the screen's own resolution.

import { ORANGE, SKY } from "../lib/colours.js";
import { SIDE } from "../lib/images.js"; // pixels of the box

export class SlicePainter {
  constructor(canvas) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d", { alpha: false });
    this.image = document.createElement("canvas"); // one slice, a pixel a pixel
    this.greys = new Uint32Array(65536); // by HU + 32768
    this.drawn = null; // what `image` holds
  }

  // Black at level - width / 2, white at level + width / 2.
  window(width, level) {
    if (this.width === width && this.level === level) return;
    Object.assign(this, { width, level });
    const low = level - width / 2;
    for (let at = 0; at < 65536; at += 1) {
      const share = Math.min(Math.max((at - 32768 - low) / width, 0), 1);
      this.greys[at] = 0xff000000 | (Math.round(share * 255) * 0x010101);
    }
    this.drawn = null;
  }

  // view: {x, y} the image's pixel in the upper left corner, zoom 1 or more.
  paint({ slice, mask, rows, columns, view, box, place }) {
    const { canvas, context } = this;
    const scale = (canvas.width / columns) * view.zoom;
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.fillStyle = "#000";
    context.fillRect(0, 0, canvas.width, canvas.height);
    if (!slice) return;
    this.fill(slice, rows, columns);
    context.setTransform(scale, 0, 0, scale, -view.x * scale, -view.y * scale);
    context.imageSmoothingEnabled = true;
    context.imageSmoothingQuality = "high";
    context.drawImage(this.image, 0, 0);
    const thin = (window.devicePixelRatio || 1) / scale; // a CSS pixel, in the image's pixels
    if (mask) this.line(outline(mask, rows, columns), ORANGE, thin);
    if (box) this.box(box, rows, columns, thin, place);
  }

  fill(slice, rows, columns) {
    if (this.drawn === slice) return;
    if (this.image.width !== columns || this.image.height !== rows) {
      Object.assign(this.image, { width: columns, height: rows });
    }
    const target = this.image.getContext("2d", { alpha: false });
    const pixels = target.createImageData(columns, rows);
    const pixels32 = new Uint32Array(pixels.data.buffer);
    const { hu } = slice;
    for (let at = 0; at < pixels32.length; at += 1) pixels32[at] = this.greys[hu[at] + 32768];
    target.putImageData(pixels, 0, 0);
    this.drawn = slice;
  }

  line(path, colour, thin) {
    const { context } = this;
    context.lineJoin = "miter";
    context.strokeStyle = "rgb(0 0 0 / 55%)";
    context.lineWidth = 3 * thin;
    context.stroke(path);
    context.strokeStyle = colour;
    context.lineWidth = 1.5 * thin;
    context.stroke(path);
  }

  box([row, column], rows, columns, thin, place) {
    const { context } = this;
    const top = firstOf(row);
    const left = firstOf(column);
    const path = new Path2D();
    path.rect(left, top, SIDE, SIDE);
    if (place) {
      const around = new Path2D();
      around.rect(0, 0, columns, rows);
      around.addPath(path);
      context.fillStyle = "rgb(0 0 0 / 18%)";
      context.fill(around, "evenodd");
    }
    this.line(path, SKY, thin);
  }
}

// The crop's first row or column around a middle, as lungvae_core.data.images.crop has it.
function firstOf(middle) {
  return Math.floor(middle - 31) - (Number.isInteger(middle) ? 1 : 0);
}

const outlined = new WeakMap(); // mask -> Path2D

// The edges between pixels inside and outside.
function outline(mask, rows, columns) {
  if (outlined.has(mask)) return outlined.get(mask);
  const path = new Path2D();
  const inside = (row, column) =>
    row >= 0 && column >= 0 && row < rows && column < columns && mask[row * columns + column] > 0;
  for (let row = 0; row <= rows; row += 1) {
    for (let column = 0; column <= columns; column += 1) {
      const here = inside(row, column);
      if (here !== inside(row - 1, column)) {
        path.moveTo(column, row);
        path.lineTo(column + 1, row);
      }
      if (here !== inside(row, column - 1)) {
        path.moveTo(column, row);
        path.lineTo(column, row + 1);
      }
    }
  }
  outlined.set(mask, path);
  return path;
}
