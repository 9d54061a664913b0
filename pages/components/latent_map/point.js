// Pointer, wheel, keys and tools: they move the camera, point at lesions, draw lassos and paths.

import { inside, NEAR, nearest } from "../lib/hits.js";
import { CORNERS, smoothed } from "../lib/lines.js";

const MOVED = 4; // CSS pixels from which on a press is a drag
const TURN = 0.008; // radians a pixel
const KEY_STEP = 60; // CSS pixels that an arrow key moves the map

export class Pointing {
  constructor(view) {
    this.view = view;
    this.tool = "lasso";
    this.drag = null;
    this.fingers = new Map();
    const canvas = view.find("canvas.overlay");
    this.canvas = canvas;
    canvas.onpointerdown = (event) => this.down(event);
    canvas.onpointermove = (event) => this.move(event);
    canvas.onpointerup = (event) => this.up(event);
    canvas.onpointercancel = (event) => {
      this.fingers.delete(event.pointerId);
      this.cancel();
    };
    canvas.onpointerleave = () => this.drag || this.away();
    canvas.oncontextmenu = (event) => event.preventDefault();
    canvas.ondblclick = () => view.fit();
    canvas.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
    canvas.onkeydown = (event) => this.key(event);
    canvas.onblur = () => this.keysEnd();
    view.root.querySelectorAll("[data-tool]").forEach((button) => {
      button.onclick = () => this.setTool(button.dataset.tool);
    });
    const middle = () => [view.width / 2, view.height / 2];
    const actions = {
      in: () => this.zoom(1.5, ...middle()),
      out: () => this.zoom(1 / 1.5, ...middle()),
      fit: () => view.fit(),
      spin: () => view.spin(!view.spinning),
      clear: () => this.clear(),
    };
    view.root.querySelectorAll("[data-do]").forEach((button) => {
      button.onclick = () => view.shown && actions[button.dataset.do]();
    });
    this.setTool("lasso");
  }

  setTool(tool) {
    this.tool = tool;
    const { root } = this.view;
    root.dataset.tool = tool;
    root.querySelectorAll("[data-tool]").forEach((button) => {
      button.setAttribute("aria-pressed", String(button.dataset.tool === tool));
    });
  }

  at(event) {
    const box = this.canvas.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  }

  down(event) {
    const { view } = this;
    if (!view.shown || view.moving) return;
    const [x, y] = this.at(event);
    this.keysEnd();
    view.spin(false);
    this.canvas.setPointerCapture(event.pointerId);
    this.fingers.set(event.pointerId, [x, y]);
    if (this.fingers.size === 2) return this.startPinch();
    const other = event.button === 1 || event.button === 2;
    const moves = this.tool === "pan" || other || !view.data.selectable;
    const turns = moves && view.dims === 3 && !other;
    this.drag = {
      x, y, other, moves, turns, tool: this.tool, add: event.shiftKey,
      from: view.camera.settings(), path: moves ? null : [[x, y]],
    };
  }

  move(event) {
    const { view, drag } = this;
    const [x, y] = this.at(event);
    if (this.fingers.has(event.pointerId)) this.fingers.set(event.pointerId, [x, y]);
    if (this.pinch) return this.pinched();
    if (!drag) return this.point(x, y);
    drag.moved = drag.moved || Math.hypot(x - drag.x, y - drag.y) > MOVED;
    if (!drag.moved) return;
    view.hover(-1);
    if (drag.moves) {
      if (drag.turns) view.camera.rotate((x - drag.x) * TURN, (y - drag.y) * TURN, drag.from);
      else view.camera.pan(x - drag.x, y - drag.y, drag.from);
      view.zoomed = true;
      view.draw();
      return;
    }
    if (drag.tool === "box") drag.path = [[drag.x, drag.y], [x, drag.y], [x, y], [drag.x, y]];
    else drag.path.push([x, y]);
    view.drawing = drag;
    view.drawOverlay();
  }

  up(event) {
    const { view, drag } = this;
    this.fingers.delete(event.pointerId);
    if (this.pinch) {
      if (!this.fingers.size) this.pinch = null;
      return;
    }
    this.cancel();
    if (!drag) return;
    const [x, y] = this.at(event);
    if (!drag.moved) {
      if (event.button !== 0) return;
      const point = this.nearest(x, y);
      if (point >= 0) view.select([point], drag.add, view.lesions?.row[point]);
      else if (!drag.add && view.rows.length) view.select([], false);
    } else if (drag.path && drag.tool === "path") {
      view.drawPath(smoothed(drag.path).map(([px, py]) => view.camera.toMap(px, py, view.width, view.height)));
    } else if (drag.path) {
      view.select(inside(drag.path, view, (i) => view.pointable(i)), drag.add);
    }
  }

  cancel() {
    this.drag = null;
    this.view.drawing = null;
    this.view.drawOverlay();
  }

  // Two fingers zoom and move.
  startPinch() {
    this.cancel();
    this.pinch = this.spread();
  }

  spread() {
    const [[ax, ay], [bx, by]] = [...this.fingers.values()];
    return { x: (ax + bx) / 2, y: (ay + by) / 2, apart: Math.hypot(ax - bx, ay - by) || 1 };
  }

  pinched() {
    if (this.fingers.size < 2) return;
    const [before, now] = [this.pinch, this.spread()];
    this.view.camera.pan(now.x - before.x, now.y - before.y);
    this.pinch = now;
    this.zoom(now.apart / before.apart, now.x, now.y);
  }

  point(x, y) {
    const { view } = this;
    if (!view.shown || view.moving) return;
    const point = this.nearest(x, y);
    view.hover(point, x, y);
    const around = point < 0 && view.dims === 2 && view.layers.outlines ? view.layers.outlineAt(x, y) : null;
    if (around) view.layers.tip(around);
    else view.layers.hideTip();
  }

  away() {
    this.view.hover(-1);
    this.view.layers.hideTip();
  }

  // The point at a place of the screen: the nearest on a flat map, of a turned one the frontmost of those there.
  nearest(x, y) {
    const { view } = this;
    return nearest(view, x, y, {
      reach: view.thumbnails ? 24 : NEAR,
      radius: view.dims === 3 ? view.radius + 1 : 0,
      pointable: (i) => view.pointable(i),
    });
  }

  wheel(event) {
    const { view } = this;
    if (!view.shown) return;
    // Zoomed out fully, the wheel scrolls the page again.
    if (event.deltaY > 0 && view.camera.zoomedBy <= 0.86) return;
    event.preventDefault();
    this.zoom(Math.exp(-event.deltaY * 0.0016), ...this.at(event));
  }

  zoom(factor, x, y) {
    const { view } = this;
    view.camera.zoom(factor, x, y, view.width, view.height);
    view.zoomed = true;
    view.hover(-1);
    view.draw();
  }

  clear() {
    const { view } = this;
    if (this.tool === "path") view.drawPath(null);
    else view.select([], false);
  }

  // ---- keys: the map moves under a cross in its middle, which points ---------------------------------------------

  key(event) {
    const { view } = this;
    if (!view.shown || event.ctrlKey || event.metaKey) return;
    const arrows = { ArrowLeft: [1, 0], ArrowRight: [-1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };
    const middle = [view.width / 2, view.height / 2];
    if (arrows[event.key]) {
      const [dx, dy] = arrows[event.key].map((way) => way * KEY_STEP);
      if (view.dims === 3 && !event.shiftKey) view.camera.rotate(-dx * TURN * 0.4, -dy * TURN * 0.4);
      else view.camera.pan(dx, dy);
      view.zoomed = true;
      view.draw(() => this.pointByKeys());
    } else if (event.key === "+" || event.key === "=") this.zoom(1.3, ...middle);
    else if (event.key === "-") this.zoom(1 / 1.3, ...middle);
    else if (event.key === "0") view.fit();
    else if (event.key === "Escape") this.clear();
    else if (event.key === "Enter" || event.key === " ") this.press(event, middle);
    else return;
    event.preventDefault();
  }

  pointByKeys() {
    const { view } = this;
    view.byKeys = true;
    const middle = [view.width / 2, view.height / 2];
    const point = this.nearest(...middle);
    view.hover(point, ...middle);
    view.tell(point < 0 ? "No lesion under the cross" : [view.nameOf(point), ...view.card.lines(point)].join(", "));
    view.drawOverlay();
  }

  press(event, middle) {
    const { view } = this;
    if (this.tool === "path" && view.dims === 2) {
      const place = view.camera.toMap(...middle, view.width, view.height);
      return view.drawPath([...(view.path || []), place].slice(-CORNERS));
    }
    const point = this.nearest(...middle);
    if (!view.byKeys) return this.pointByKeys();
    if (point >= 0) view.select([point], event.shiftKey, view.lesions?.row[point]);
  }

  keysEnd() {
    if (!this.view.byKeys) return;
    this.view.byKeys = false;
    this.view.hover(-1);
    this.view.drawOverlay();
  }
}
