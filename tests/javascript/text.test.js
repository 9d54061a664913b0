// Numbers, lesions and answers in words.

import assert from "node:assert/strict";
import test from "node:test";

import { forget, get, readJson } from "../../pages/components/lib/answers.js";
import { lesionLines, patientOf } from "../../pages/components/lib/lesions.js";
import { formatChange, formatCount, formatNumber } from "../../pages/components/lib/numbers.js";
import { decodeColours } from "../../pages/components/lib/places.js";

test("numbers have a minus sign, and none where nothing is left of them", () => {
  assert.equal(formatNumber(-1.234), "−1.23");
  assert.equal(formatNumber(0.0512), "0.051");
  assert.equal(formatNumber(0.00123), "0.0012");
  assert.equal(formatNumber(0), "0.00");
  assert.equal(formatNumber(-0.00001), "0.0000");
  assert.equal(formatNumber(-482.4, 0), "−482");
  assert.deepEqual([-0.16, 0.2, 0.004, -0.004].map(formatChange), ["−0.16", "+0.20", "±0.00", "±0.00"]);
  assert.equal(formatCount(14012), "14,012");
});

test("a card says what is known of a lesion", () => {
  const slices = {
    patient: [0, 0], patients: ["TEST-1"], nodule: [0, 1], slice: [7, 9], malignancy: [4, null], readers: [1, 0],
    diameter: [8.2, null], score: [0.456, null],
  };
  assert.equal(patientOf(slices, 1), "TEST-1");
  assert.deepEqual(lesionLines(slices, 0, { 4: "moderately suspicious" }), [
    "nodule 0, slice 7", "1 reader: moderately suspicious (4)", "Diameter 8.2 mm", "Model score 0.46",
  ]);
  assert.deepEqual(lesionLines(slices, 1, {}), ["nodule 1, slice 9", "Malignancy not rated"]);
  const nodules = { nodule: [2], slice: [3], slices: [5], score: [0] };
  assert.deepEqual(lesionLines(nodules, 0, {}), [
    "nodule 2, slice 3 (largest)", "Malignancy not rated", "Model score 0.00, mean of 5",
  ]);
});

test("colours come as a legend and an index a point", () => {
  const legend = new TextEncoder().encode(JSON.stringify({ title: "Größe", palette: ["#ffffff"] }));
  const bytes = new Uint8Array(4 + legend.length + 4);
  new DataView(bytes.buffer).setUint32(0, legend.length, true);
  bytes.set(legend, 4);
  new DataView(bytes.buffer).setInt16(4 + legend.length, -1, true);
  const colours = decodeColours(bytes.buffer);
  assert.equal(colours.title, "Größe");
  assert.deepEqual([...colours.index], [-1, 0]);
});

test("an answer is fetched once, a refusal is its sentence and is asked for again", async () => {
  let asked = 0;
  const answer = (ok, value) => () => {
    asked += 1;
    return Promise.resolve({ ok, json: () => Promise.resolve(value) });
  };
  globalThis.fetch = answer(true, 5);
  assert.deepEqual([await get("/a", readJson), await get("/a", readJson), asked], [5, 5, 1]);
  forget("/a");
  globalThis.fetch = answer(false, { error: "No such model." });
  await assert.rejects(get("/a", readJson), { message: "No such model." });
  await assert.rejects(get("/a", readJson), { message: "No such model." });
  assert.equal(asked, 3);
  globalThis.fetch = () => Promise.reject(new TypeError("Failed to fetch"));
  await assert.rejects(get("/a", readJson), { message: /did not answer/ });
});
