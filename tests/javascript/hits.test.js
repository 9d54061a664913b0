// Which point is pointed at, and which lie in a lasso.

import assert from "node:assert/strict";
import test from "node:test";

import { inside, nearest } from "../../pages/components/lib/hits.js";
import { evenly, simplified, smoothed } from "../../pages/components/lib/lines.js";

const screen = { sx: [10, 20, 100], sy: [10, 10, 100], depth: [0.2, 0.9, 0.5] };
const all = () => true;

test("the nearest point within reach is pointed at, if it is shown", () => {
  assert.equal(nearest(screen, 13, 10, { pointable: all }), 0);
  assert.equal(nearest(screen, 13, 10, { pointable: (i) => i !== 0 }), 1);
  assert.equal(nearest(screen, 60, 60, { pointable: all }), -1);
  assert.equal(nearest(screen, 60, 60, { pointable: all, reach: 80 }), 2);
});

test("of points that lie over each other the frontmost is pointed at", () => {
  assert.equal(nearest(screen, 12, 10, { pointable: all, radius: 12 }), 1);
});

test("a lasso holds what lies in it, by the even-odd rule", () => {
  const square = [[0, 0], [50, 0], [50, 50], [0, 50]];
  assert.deepEqual(inside(square, screen, all), [0, 1]);
  assert.deepEqual(inside(square, screen, (i) => i === 1), [1]);
  const bowtie = [[0, 0], [30, 20], [30, 0], [0, 20]];
  assert.deepEqual(inside(bowtie, { sx: [5, 15, 25], sy: [10, 2, 10] }, all), [0, 2]);
});

test("a drawn line keeps its ends and its corners, at even distances", () => {
  const straight = Array.from({ length: 30 }, (_, n) => [n, 0.1 * (n % 2)]);
  assert.deepEqual(simplified(straight, 1), [straight[0], straight[29]]);
  assert.equal(simplified([[0, 0], [10, 0], [10, 10]], 1).length, 3);
  assert.deepEqual(evenly([[0, 0], [10, 0]], 3), [[0, 0], [5, 0], [10, 0]]);
  const line = smoothed([[0, 0], [10, 0], [10, 10]]);
  assert.deepEqual([line[0], line.at(-1)], [[0, 0], [10, 10]]);
});
