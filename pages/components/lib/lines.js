// A line drawn by hand: fewer corners, round ones, at even distances.

export const CORNERS = 24; // that Python is told

// Drop corners that lie within `slack` of the line between their neighbours (Ramer, Douglas and Peucker).
export function simplified(line, slack) {
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
export function evenly(line, count) {
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

export const smoothed = (line) => evenly(rounded(simplified(line, 2.5)), Math.min(CORNERS, Math.max(4, line.length)));
