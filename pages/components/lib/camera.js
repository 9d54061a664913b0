// From places on the map to places on the screen and back, flat or turned in space.

export const TURNED = { yaw: 0.6, pitch: 0.35 }; // how a map in three dimensions is first seen
const FAR = 3.2; // the eye's distance from the middle, in radii of the cloud
const STEEPEST = 1.5; // radians up or down

// (N, 3) places one after the other of (N, 2); the third is 0 on a flat map.
export function flat(xy) {
  const xyz = new Float32Array((xy.length / 2) * 3);
  for (let i = 0; i < xy.length / 2; i++) {
    xyz[3 * i] = xy[2 * i];
    xyz[3 * i + 1] = xy[2 * i + 1];
  }
  return xyz;
}

export class Camera {
  constructor() {
    // What is in the middle (x, y; turned: of the turned cloud), pixels a unit, the angles, the middle that it
    // turns about, and how strongly depth shrinks things: 0 on a flat map.
    Object.assign(this, { x: 0, y: 0, k: 1, yaw: 0, pitch: 0, cx: 0, cy: 0, cz: 0, bend: 0 });
    this.smallest = 1; // pixels a unit at which all is seen
    this.reach = 1; // the cloud's radius
  }

  get deep() {
    return this.bend > 0;
  }

  get zoomedBy() {
    return this.k / this.smallest;
  }

  // The settings that show all of (N, 3) places; on a flat map with margins in CSS pixels, left and right together.
  fitted(xyz, dims, width, height, [across, down] = [110, 50]) {
    const low = [Infinity, Infinity, Infinity];
    const high = [-Infinity, -Infinity, -Infinity];
    for (let i = 0; i < xyz.length; i += 3) {
      for (let axis = 0; axis < 3; axis++) {
        const value = xyz[i + axis];
        if (value < low[axis]) low[axis] = value;
        if (value > high[axis]) high[axis] = value;
      }
    }
    const [x, y, z] = low.map((value, axis) => (value + high[axis]) / 2);
    if (dims === 2) {
      // One scale for both axes, or distances would differ by direction.
      const k = Math.min((width - across) / (high[0] - low[0] || 1), (height - down) / (high[1] - low[1] || 1));
      this.reach = 1;
      this.smallest = k;
      return { x, y, k, yaw: 0, pitch: 0, cx: 0, cy: 0, cz: 0, bend: 0 };
    }
    const radii = new Float32Array(xyz.length / 3);
    for (let i = 0; i < radii.length; i++)
      radii[i] = Math.hypot(xyz[3 * i] - x, xyz[3 * i + 1] - y, xyz[3 * i + 2] - z);
    radii.sort();
    // A few stray lesions do not decide how large the others are seen.
    this.reach = radii[Math.floor(0.99 * (radii.length - 1))] || 1;
    const k = (Math.min(width - 60, height - 20) / (2 * this.reach)) * 0.95;
    this.smallest = k;
    const turned = this.deep ? { yaw: this.yaw, pitch: this.pitch } : TURNED;
    return { x: 0, y: 0, k, ...turned, cx: x, cy: y, cz: z, bend: 1 / (FAR * this.reach) };
  }

  // Fill sx, sy (N,) in CSS pixels and, of a turned map, depth (N,): 0 farthest, 1 nearest.
  project(xyz, sx, sy, depth, width, height) {
    const { x, y, k, cx, cy, cz, bend } = this;
    const [mx, my] = [width / 2, height / 2];
    if (!this.deep) {
      for (let i = 0, j = 0; i < sx.length; i++, j += 3) {
        sx[i] = (xyz[j] - x) * k + mx;
        sy[i] = my - (xyz[j + 1] - y) * k;
      }
      return;
    }
    const [cosY, sinY, cosP, sinP] = this.turn();
    const scale = 0.5 / this.reach;
    for (let i = 0, j = 0; i < sx.length; i++, j += 3) {
      const [px, py, pz] = [xyz[j] - cx, xyz[j + 1] - cy, xyz[j + 2] - cz];
      const across = px * cosY + pz * sinY;
      const away = pz * cosY - px * sinY;
      const near = py * sinP + away * cosP;
      const size = 1 / Math.max(1 - bend * near, 0.1);
      sx[i] = (across * size - x) * k + mx;
      sy[i] = my - ((py * cosP - away * sinP) * size - y) * k;
      depth[i] = near * scale + 0.5;
    }
  }

  turn() {
    return [Math.cos(this.yaw), Math.sin(this.yaw), Math.cos(this.pitch), Math.sin(this.pitch)];
  }

  // One place of a flat map on the screen, in CSS pixels, and back.
  toScreen(x, y, width, height) {
    return [width / 2 + (x - this.x) * this.k, height / 2 - (y - this.y) * this.k];
  }

  toMap(sx, sy, width, height) {
    return [(sx - width / 2) / this.k + this.x, (height / 2 - sy) / this.k + this.y];
  }

  zoom(factor, sx, sy, width, height) {
    const [mx, my] = this.toMap(sx, sy, width, height);
    this.k = Math.min(Math.max(this.k * factor, this.smallest * 0.85), this.smallest * 400);
    this.x = mx - (sx - width / 2) / this.k;
    this.y = my - (height / 2 - sy) / this.k;
  }

  pan(dx, dy, from = this) {
    this.x = from.x - dx / this.k;
    this.y = from.y + dy / this.k;
  }

  rotate(dx, dy, from = this) {
    this.yaw = from.yaw + dx;
    this.pitch = Math.min(Math.max(from.pitch + dy, -STEEPEST), STEEPEST);
  }

  settings() {
    const { x, y, k, yaw, pitch, cx, cy, cz, bend } = this;
    return { x, y, k, yaw, pitch, cx, cy, cz, bend };
  }
}
