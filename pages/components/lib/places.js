// Where a map's points lie, and what colour each has.

import { get } from "./answers.js";
import { flat } from "./camera.js";

export function places({ api, unit, method, dims = 2, map = "" }) {
  const query = `unit=${unit}&method=${method}&dims=${dims}&map=${encodeURIComponent(map)}`;
  return get(`${api}/points?${query}`, async (response) => {
    const coordinates = new Float32Array(await response.arrayBuffer());
    // A map of one's own has as many dimensions as it was made with, which the address says.
    return dims === 3 ? coordinates : flat(coordinates);
  });
}

// Colours: the length of a JSON legend, the legend, and for each point an index into its palette.
export function decodeColours(buffer) {
  const length = new DataView(buffer).getUint32(0, true);
  const legend = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length)));
  legend.index = new Int16Array(buffer.slice(4 + length));
  return legend;
}

export const colours = ({ api, unit, by }) =>
  get(`${api}/colours?unit=${unit}&by=${encodeURIComponent(by)}`, async (response) =>
    decodeColours(await response.arrayBuffer()),
  );
