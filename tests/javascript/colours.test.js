// The ramp of differences, and points as pixels.

import assert from "node:assert/strict";
import test from "node:test";

import { asPixel, differencePixel, fromHex, ORANGE, SKY } from "../../pages/components/lib/colours.js";
import { CHOSEN, GHOST, PLAIN, PointPainter } from "../../pages/components/lib/points.js";

test("differences are blue below, orange above and dark at zero", () => {
  assert.deepEqual(fromHex("#0a10ff"), [10, 16, 255]);
  assert.equal(asPixel([1, 2, 3]), 0xff030201);
  assert.equal(differencePixel(-1), asPixel(fromHex(SKY)));
  assert.equal(differencePixel(7), asPixel(fromHex(ORANGE)));
  assert.equal(differencePixel(0), asPixel([17, 17, 17]));
});

// A canvas that keeps what is put on it.
function painted(points) {
  globalThis.ImageData = class {
    constructor(width, height) {
      this.data = new Uint8ClampedArray(4 * width * height);
    }
  };
  const canvas = { width: 0, height: 0, getContext: () => ({ putImageData() {} }) };
  const painter = new PointPainter(canvas);
  painter.setPalette(["#ff0000", "#00ff00"], [0, 0, 0], [255, 255, 255]);
  painter.shuffle(points.sx.length);
  const inSight = painter.paint({ radius: 3, edge: 1, ratio: 1, width: 40, height: 20, most: 9, ...points });
  const at = (x, y) => painter.pixels[(y + painter.margin) * painter.stride + x + painter.margin];
  return { inSight, channels: (x, y) => [0, 8, 16].map((shift) => (at(x, y) >>> shift) & 255) };
}

test("points have their colour, set back ones fade and those outside are left out", () => {
  const { inSight, channels } = painted({
    sx: [5, 15, 25, 35, 500], sy: [10, 10, 10, 10, 10], index: [0, 1, 0, -1, 0], state: [PLAIN, CHOSEN, GHOST, PLAIN, PLAIN],
  });
  assert.deepEqual(inSight.sort((a, b) => a - b), [0, 1, 3]);
  const [red, green, blue] = channels(5, 10);
  assert.ok(red > 200 && green === 0 && blue === 0);
  assert.deepEqual(channels(15, 10).map((value) => value > 250), [false, true, false]);
  const ghost = channels(25, 10);
  assert.ok(ghost[0] < 60 && ghost[0] === ghost[1]);
  assert.deepEqual(channels(35, 10), [0, 0, 0]); // what is not known is a ring
  assert.ok(channels(33, 10)[0] > 30);
  assert.deepEqual(channels(0, 0), [0, 0, 0]);
});

test("of a turned map nearer points are larger and painted last", () => {
  const { channels } = painted({
    sx: [10, 10], sy: [10, 10], index: [0, 1], state: [PLAIN, PLAIN], depth: [0.95, 0.05], deep: true,
  });
  assert.ok(channels(10, 10)[0] > 200);
});
