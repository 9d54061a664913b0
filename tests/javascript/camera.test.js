// Projection: from places on a map to the screen and back, flat and turned.

import assert from "node:assert/strict";
import test from "node:test";

import { Camera, flat } from "../../pages/components/lib/camera.js";

const SIZE = [400, 300];
const near = (one, other, slack = 1e-3) => one.forEach((value, n) => assert.ok(Math.abs(value - other[n]) < slack, `${one} is not ${other}`));

function shown(xyz, dims) {
  const camera = new Camera();
  Object.assign(camera, camera.fitted(xyz, dims, ...SIZE));
  const [sx, sy, depth] = [0, 1, 2].map(() => new Float32Array(xyz.length / 3));
  camera.project(xyz, sx, sy, depth, ...SIZE);
  return { camera, sx, sy, depth };
}

test("a flat map is shown whole, upright and at one scale", () => {
  const xyz = flat(new Float32Array([0, 0, 4, 0, 4, 2]));
  assert.deepEqual([...xyz], [0, 0, 0, 4, 0, 0, 4, 2, 0]);
  const { camera, sx, sy } = shown(xyz, 2);
  assert.ok(sx.every((x) => x >= 0 && x <= 400) && sy.every((y) => y >= 0 && y <= 300));
  near([sx[1] - sx[0], sy[1] - sy[2]], [4 * camera.k, 2 * camera.k]);
  assert.ok(sy[2] < sy[1], "up is up");
});

test("places of the screen and of the map are each other's inverse, also zoomed and moved", () => {
  const { camera, sx, sy } = shown(flat(new Float32Array([-1, 3, 5, 7])), 2);
  near(camera.toScreen(-1, 3, ...SIZE), [sx[0], sy[0]]);
  const before = camera.toMap(100, 50, ...SIZE);
  camera.zoom(3, 100, 50, ...SIZE);
  near(camera.toMap(100, 50, ...SIZE), before); // what is under the pointer stays under it
  camera.pan(20, -10);
  near(camera.toMap(120, 40, ...SIZE), before);
  near(camera.toScreen(...before, ...SIZE), [120, 40]);
});

test("zooming ends where all is seen and where a point would be the whole map", () => {
  const { camera } = shown(flat(new Float32Array([0, 0, 1, 1])), 2);
  camera.zoom(1e9, 0, 0, ...SIZE);
  assert.equal(camera.zoomedBy, 400);
  camera.zoom(1e-9, 0, 0, ...SIZE);
  assert.equal(camera.zoomedBy, 0.85);
});

test("a turned map has the middle in the middle, and what is nearer is larger and in front", () => {
  const xyz = new Float32Array([0, 0, 1, 0, 0, -1, 1, 0, 0, -1, 0, 0, 0, 1, 0, 0, -1, 0]);
  const { camera, sx, sy, depth } = shown(xyz, 3);
  assert.ok(camera.deep);
  Object.assign(camera, { yaw: 0, pitch: 0 });
  camera.project(xyz, sx, sy, depth, ...SIZE);
  near([sx[0], sy[0]], [200, 150]);
  near([sx[1], sy[1]], [200, 150]);
  assert.ok(depth[0] > depth[2] && depth[2] > depth[1]);
  camera.rotate(Math.PI / 2, 0);
  camera.project(xyz, sx, sy, depth, ...SIZE);
  assert.ok(sx[0] > sx[1], "a quarter turn brings the front to the right");
  camera.rotate(0, 99);
  assert.ok(camera.pitch <= 1.5);
});
