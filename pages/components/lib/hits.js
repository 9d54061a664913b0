// Which points lie where on the screen.

import { simplified } from "./lines.js";

export const NEAR = 14; // CSS pixels within which a point counts as pointed at

// The point sx, sy (N,) nearest to a place, or -1. Of points with `depth` the frontmost of those whose middle is
// within `radius`.
export function nearest({ sx, sy, depth }, x, y, { reach = NEAR, radius = 0, pointable }) {
  let [best, least] = [-1, reach * reach];
  for (let i = 0; i < sx.length; i++) {
    const dx = sx[i] - x;
    const dy = sy[i] - y;
    let distance = dx * dx + dy * dy;
    if (distance >= reach * reach || !pointable(i)) continue;
    if (distance < radius * radius) distance = -depth[i];
    if (distance < least) [best, least] = [i, distance];
  }
  return best;
}

// Which of the points sx, sy that are `pointable` lie inside a closed line.
export function inside(line, { sx, sy }, pointable) {
  const path = simplified([...line, line[0]], 0.7);
  const xs = path.map(([x]) => x);
  const ys = path.map(([, y]) => y);
  const [left, right] = [Math.min(...xs), Math.max(...xs)];
  const [top, bottom] = [Math.min(...ys), Math.max(...ys)];
  const points = [];
  for (let i = 0; i < sx.length; i++) {
    const [x, y] = [sx[i], sy[i]];
    if (x < left || x > right || y < top || y > bottom || !pointable(i)) continue;
    let odd = false;
    for (let a = 0, b = path.length - 1; a < path.length; b = a++) {
      if (ys[a] > y !== ys[b] > y && x < ((xs[b] - xs[a]) * (y - ys[a])) / (ys[b] - ys[a]) + xs[a]) odd = !odd;
    }
    if (odd) points.push(i);
  }
  return points;
}
