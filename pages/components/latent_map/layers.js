// What lies over the points: lines of density, clusters with their names, a marker and its trail, the drawn
// path, what is pointed at, and a lasso in the making.

import { BLUE, SKY, VERMILLION } from "../lib/colours.js";
import { strokeEdged } from "../lib/curves.js";
import { element } from "../lib/elements.js";
import { formatCount } from "../lib/numbers.js";

const TRAIL = 40; // places that a moving marker leaves behind

export class Layers {
  constructor(view) {
    this.view = view;
    this.lines = view.find("canvas.lines").getContext("2d");
    this.above = view.find("canvas.overlay").getContext("2d");
    this.labels = view.find(".labels");
    this.contours = null;
    this.outlines = null;
    this.trail = [];
  }

  resize() {
    const { canvas } = this.view.painter;
    for (const { canvas: own } of [this.lines, this.above]) {
      if (own.width !== canvas.width || own.height !== canvas.height)
        [own.width, own.height] = [canvas.width, canvas.height];
    }
  }

  clear(context) {
    const { ratio, width, height } = this.view;
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, width, height);
  }

  // ---- lines that stay with the map ------------------------------------------------------------------------

  setLines(contours, outlines) {
    const path = (lines) => {
      const made = new Path2D();
      for (const line of lines) {
        line.forEach(([x, y], n) => (n ? made.lineTo(x, y) : made.moveTo(x, y)));
        made.closePath();
      }
      return made;
    };
    const top = (lines) =>
      lines.flat().reduce((best, place) => (place[1] > best[1] ? place : best), [0, -Infinity]);
    this.contours = contours?.levels.map((level) => ({
      share: level.share,
      path: path(level.lines),
      label: level.lines.length ? top(level.lines) : null,
    }));
    this.outlines = outlines?.map((each) => ({ ...each, path: path(each.lines) }));
    this.view.root.dataset.contours = String(this.contours ? this.contours.length : 0);
    this.view.root.dataset.outlines = String(this.outlines ? this.outlines.length : 0);
    this.showLabels();
  }

  showLabels() {
    const { view } = this;
    this.hideTip();
    this.labels.replaceChildren(
      ...(this.outlines || []).map((each) => {
        const item = element("li");
        const button = element("button", "", each.name);
        button.type = "button";
        button.style.setProperty("--own", each.colour);
        button.setAttribute("aria-label", `Cluster ${each.name}: ${each.words}`);
        button.onpointerenter = button.onfocus = () => this.tip(each);
        button.onpointerleave = button.onblur = () => this.hideTip();
        button.onclick = () => this.tip(each);
        button.onkeydown = (event) => event.key === "Escape" && this.hideTip();
        item.append(button);
        each.label = item;
        return item;
      }),
    );
    this.labels.hidden = !this.labels.childElementCount;
    view.draw();
  }

  tip(each) {
    if (this.tipped === each) return;
    this.tipped = each;
    const box = this.view.find(".tip");
    const extent = `Outlined: the smallest region with three quarters of its ${formatCount(each.count)} points.`;
    box.replaceChildren(element("strong", "", each.name), element("span", "", `${each.words} ${extent}`));
    box.hidden = false;
    const { width, height } = this.view;
    const [x, y] = this.view.camera.toScreen(...each.centre, width, height);
    const left = Math.max(6, Math.min(x - box.offsetWidth / 2, width - box.offsetWidth - 6));
    const below = y + 18 + box.offsetHeight < height;
    const top = below ? y + 18 : Math.max(6, y - 18 - box.offsetHeight);
    box.style.transform = `translate(${Math.round(left)}px, ${Math.round(top)}px)`;
    this.view.drawOverlay();
  }

  hideTip() {
    if (!this.tipped) return;
    this.tipped = null;
    this.view.find(".tip").hidden = true;
    this.view.drawOverlay();
  }

  // The cluster whose outline lies around a place of the screen, the smallest if several do.
  outlineAt(x, y) {
    const { camera, width, height } = this.view;
    const place = camera.toMap(x, y, width, height);
    const context = this.lines;
    context.setTransform(1, 0, 0, 1, 0, 0);
    const around = (this.outlines || []).filter((each) => context.isPointInPath(each.path, ...place, "evenodd"));
    return around.sort((a, b) => a.count - b.count)[0] || null;
  }

  paintLines() {
    const { lines, view } = this;
    if (!this.contours && !this.outlines && !this.lined) return;
    this.clear(lines);
    this.lined = Boolean(this.contours || this.outlines);
    if (!this.lined || view.dims === 3) return;
    const { camera, ratio, width, height } = view;
    const k = camera.k * ratio;
    const onMap = () =>
      lines.setTransform(k, 0, 0, -k, (width / 2) * ratio - camera.x * k, (height / 2) * ratio + camera.y * k);
    onMap();
    lines.lineJoin = "round";
    const soft = view.moving ? 0.25 : 1; // a morph leaves lines behind
    for (const { share, path } of this.contours || []) {
      lines.globalAlpha = soft * (1.05 - 0.75 * share);
      lines.strokeStyle = view.text;
      lines.lineWidth = 1.3 / camera.k;
      lines.stroke(path);
    }
    for (const { path, colour } of this.outlines || []) {
      lines.globalAlpha = soft;
      for (const [stroke, wide] of [[view.groundColour, 4.5], [colour, 2.2]]) {
        lines.strokeStyle = stroke;
        lines.lineWidth = wide / camera.k;
        lines.stroke(path);
      }
    }
    lines.globalAlpha = 1;
    lines.setTransform(ratio, 0, 0, ratio, 0, 0);
    lines.font = "600 11px sans-serif";
    lines.textAlign = "center";
    const written = []; // a share that would lie over another is left out
    for (const { share, label } of this.contours || []) {
      if (!label) continue;
      const [x, y] = camera.toScreen(...label, width, height);
      if (written.some((other) => Math.abs(other[0] - x) < 34 && Math.abs(other[1] - y) < 13)) continue;
      written.push([x, y]);
      this.write(lines, `${Math.round(100 * share)} %`, x, y - 4);
    }
    this.placeLabels();
  }

  // Names of clusters, the largest first; one that would lie over another is left out.
  placeLabels() {
    const { camera, width, height } = this.view;
    const taken = [];
    const bySize = [...(this.outlines || [])].sort((a, b) => b.count - a.count);
    for (const { label, centre } of bySize) {
      const [x, y] = camera.toScreen(...centre, width, height);
      if (!label.size) label.size = [label.offsetWidth || 80, label.offsetHeight || 18];
      const [w, h] = label.size;
      const left = Math.round(Math.max(2, Math.min(x - w / 2, width - w - 44)));
      const box = [left, Math.round(y - h / 2), w, h];
      const free = taken.every((other) =>
        box[0] > other[0] + other[2] || other[0] > box[0] + w || box[1] > other[1] + other[3] || other[1] > box[1] + h,
      );
      const seen = free && x > -20 && x < width + 20 && y > 0 && y < height;
      label.style.visibility = seen ? "visible" : "hidden";
      if (!seen) continue;
      taken.push(box);
      label.style.transform = `translate(${box[0]}px, ${box[1]}px)`;
    }
  }

  write(context, text, x, y) {
    context.lineWidth = 3.5;
    context.lineJoin = "round";
    context.strokeStyle = this.view.groundColour;
    context.strokeText(text, x, y);
    context.fillStyle = this.view.text;
    context.fillText(text, x, y);
  }

  // ---- what moves -------------------------------------------------------------------------------------------

  paintOverlay() {
    const { above, view } = this;
    this.clear(above);
    if (!view.shown) return;
    if (this.tipped) this.paintTipped();
    this.paintNeighbours();
    this.paintPath();
    this.paintMarker();
    if (view.linked >= 0) this.paintRing(view.linked, view.radius + 7, 2.5, [5, 3]);
    if (view.hovered >= 0) this.paintHover();
    if (view.byKeys) this.paintCross();
    if (view.drawing) this.paintDrawing(view.drawing);
  }

  paintTipped() {
    const { above, view } = this;
    const { camera, ratio, width, height } = view;
    const k = camera.k * ratio;
    above.save();
    above.setTransform(k, 0, 0, -k, (width / 2) * ratio - camera.x * k, (height / 2) * ratio + camera.y * k);
    above.globalAlpha = 0.22;
    above.fillStyle = this.tipped.colour;
    above.fill(this.tipped.path, "evenodd");
    above.restore();
  }

  paintHover() {
    const { view } = this;
    const { lesions, hovered, data } = view;
    if (lesions && data.by === "patient") {
      const own = lesions.patient[hovered];
      lesions.patient.forEach((patient, i) => patient === own && this.paintRing(i, view.radius + 3, 1));
    }
    this.paintRing(hovered, view.radius + 3, 2);
  }

  paintRing(i, radius, width, dash = []) {
    const { above, view } = this;
    const [x, y] = [view.sx[i], view.sy[i]];
    above.beginPath();
    const side = 25;
    if (view.thumbnails && view.sprites) above.rect(x - side, y - side, 2 * side, 2 * side);
    else above.arc(x, y, radius, 0, 7);
    above.setLineDash(dash);
    for (const [colour, more] of [[view.groundColour, 2], [view.text, 0]]) {
      above.strokeStyle = colour;
      above.lineWidth = width + more;
      above.stroke();
    }
    above.setLineDash([]);
  }

  // Where the keys point.
  paintCross() {
    const { above, view } = this;
    const [x, y] = [view.width / 2, view.height / 2];
    above.beginPath();
    for (const [dx, dy] of [[1, 0], [-1, 0], [0, 1], [0, -1]]) {
      above.moveTo(x + 6 * dx, y + 6 * dy);
      above.lineTo(x + 16 * dx, y + 16 * dy);
    }
    above.strokeStyle = view.text;
    above.lineWidth = 1.5;
    above.stroke();
  }

  paintDrawing({ tool, path }) {
    const { above, view } = this;
    above.beginPath();
    path.forEach(([x, y]) => above.lineTo(x, y));
    above.strokeStyle = tool === "path" ? VERMILLION : view.accent;
    above.lineWidth = tool === "path" ? 2.5 : 1.5;
    if (tool !== "path") {
      above.closePath();
      above.fillStyle = SKY;
      above.globalAlpha = 0.14;
      above.fill();
      above.globalAlpha = 1;
      above.setLineDash([5, 4]);
    }
    above.stroke();
    above.setLineDash([]);
  }

  // The drawn path: round between its corners, from A to B.
  paintPath() {
    const { above, view } = this;
    const { path, camera, width, height } = view;
    if (!path || view.dims === 3 || view.moving) return;
    const at = path.map(([x, y]) => camera.toScreen(x, y, width, height));
    if (at.length > 1) {
      above.beginPath();
      above.moveTo(...at[0]);
      for (let n = 1; n < at.length - 1; n++) {
        const [[x, y], [nx, ny]] = [at[n], at[n + 1]];
        above.quadraticCurveTo(x, y, (x + nx) / 2, (y + ny) / 2);
      }
      above.lineTo(...at[at.length - 1]);
      above.lineCap = "round";
      strokeEdged(above, VERMILLION, 2.8, 2.2);
    }
    this.disc(at[0], "A", VERMILLION, "#7a3300");
    if (at.length > 1) this.disc(at[at.length - 1], "B", VERMILLION, "#7a3300");
  }

  disc([x, y], text, edge, ink) {
    const { above } = this;
    above.font = "600 11px sans-serif";
    above.textAlign = "center";
    above.textBaseline = "middle";
    above.beginPath();
    above.arc(x, y, 9, 0, 7);
    above.fillStyle = "#ffffff";
    above.fill();
    above.lineWidth = 1.5;
    above.strokeStyle = edge;
    above.stroke();
    above.fillStyle = ink;
    above.fillText(text, x, y + 0.5);
    above.textBaseline = "alphabetic";
  }

  paintNeighbours() {
    const { view } = this;
    view.data.neighbours.forEach((row, number) => {
      const i = view.pointOf(row);
      if (i >= 0) this.disc([view.sx[i], view.sy[i]], String(number + 1), BLUE, "#003d5c");
    });
  }

  // A marker that is moved leaves a trail of where it was.
  move(place) {
    this.trail.push(place);
    if (this.trail.length > TRAIL) this.trail.shift();
    this.view.drawOverlay();
  }

  paintMarker() {
    const { above, view } = this;
    const { camera, width, height } = view;
    const place = this.trail[this.trail.length - 1] || view.data.marker;
    if (!place || view.dims === 3) return;
    above.lineCap = "round";
    for (let n = 1; n < this.trail.length; n++) {
      above.beginPath();
      above.moveTo(...camera.toScreen(...this.trail[n - 1], width, height));
      above.lineTo(...camera.toScreen(...this.trail[n], width, height));
      above.globalAlpha = n / this.trail.length;
      above.strokeStyle = VERMILLION;
      above.lineWidth = 2;
      above.stroke();
    }
    above.globalAlpha = 1;
    const [x, y] = camera.toScreen(...place, width, height);
    above.save();
    above.translate(x, y);
    above.beginPath();
    for (const [dx, dy] of [[0, -15], [15, 0], [0, 15], [-15, 0]]) above.lineTo(dx, dy);
    above.closePath();
    strokeEdged(above, VERMILLION, 3, 2.5);
    above.restore();
    const label = this.trail.length ? view.liveLabel : view.data.markerLabel;
    if (label) {
      const left = x > width - 160;
      above.font = "600 12px sans-serif";
      above.textAlign = left ? "right" : "left";
      above.textBaseline = "middle";
      this.write(above, label, x + (left ? -21 : 21), y);
      above.textBaseline = "alphabetic";
    }
  }
}
