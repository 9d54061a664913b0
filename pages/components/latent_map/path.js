// A line drawn by hand: fewer corners, round ones, at even distances.

const CORNERS = 24; // that Python is told

// Drop corners that lie within `slack` of the line between their neighbours (Ramer, Douglas and Peucker).
function simplified(line, slack) {
  if (line.length < 3) return line;
  const [[ax, ay], [bx, by]] = [line[0], line[line.length - 1]];
  const length = Math.hypot(bx - ax, by - ay);
  let [far, at] = [-1, 0];
  for (let n = 1; n < line.length - 1; n++) {
    const [x, y] = line[n];
    const off = length ? Math.abs((bx - ax) * (ay - y) - (ax - x) * (by - ay)) / length : Math.hypot(x - ax, y - ay);
    if (off > far) [far, at] = [off, n];
  }
  if (far <= slack) return [line[0], line[line.length - 1]];
  return [...simplified(line.slice(0, at + 1), slack).slice(0, -1), ...simplified(line.slice(at), slack)];
}

// Cut corners off (Chaikin); both ends stay.
function rounded(line, times = 2) {
  for (let n = 0; n < times && line.length > 2; n++) {
    const next = [line[0]];
    for (let i = 0; i < line.length - 1; i++) {
      const [[ax, ay], [bx, by]] = [line[i], line[i + 1]];
      next.push([0.75 * ax + 0.25 * bx, 0.75 * ay + 0.25 * by], [0.25 * ax + 0.75 * bx, 0.25 * ay + 0.75 * by]);
    }
    next.push(line[line.length - 1]);
    line = next;
  }
  return line;
}

// `count` places at even distances along a line.
function evenly(line, count) {
  const along = [0];
  for (let n = 1; n < line.length; n++)
    along.push(along[n - 1] + Math.hypot(line[n][0] - line[n - 1][0], line[n][1] - line[n - 1][1]));
  const whole = along[along.length - 1];
  let n = 1;
  return Array.from({ length: count }, (_, i) => {
    const at = (whole * i) / (count - 1);
    while (n < line.length - 1 && along[n] < at) n++;
    const share = (at - along[n - 1]) / (along[n] - along[n - 1] || 1);
    return [0, 1].map((axis) => line[n - 1][axis] + share * (line[n][axis] - line[n - 1][axis]));
  });
}

const smoothed = (line) => evenly(rounded(simplified(line, 2.5)), Math.min(CORNERS, Math.max(4, line.length)));

// Which of the points sx, sy that `wanted` names lie inside a closed line.
function inside(line, sx, sy, wanted) {
  const path = simplified([...line, line[0]], 0.7);
  const xs = path.map(([x]) => x);
  const ys = path.map(([, y]) => y);
  const [left, right] = [Math.min(...xs), Math.max(...xs)];
  const [top, bottom] = [Math.min(...ys), Math.max(...ys)];
  const found = [];
  for (let i = 0; i < sx.length; i++) {
    const [x, y] = [sx[i], sy[i]];
    if (x < left || x > right || y < top || y > bottom || !wanted(i)) continue;
    let odd = false;
    for (let a = 0, b = path.length - 1; a < path.length; b = a++) {
      if (ys[a] > y !== ys[b] > y && x < ((xs[b] - xs[a]) * (y - ys[a])) / (ys[b] - ys[a]) + xs[a]) odd = !odd;
    }
    if (odd) found.push(i);
  }
  return found;
}
