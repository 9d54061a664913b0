// What a map shows, fetched once a browser tab: places in binary, colours, facts, filters, lines, images.

const SPRITE = 32; // pixels a side in the sheet of sprites
const SPRITES_A_LINE = 128;
const MOST_SPRITES = 40_000; // a larger sheet would take gigabytes once decoded; cards then ask for their own
const KEPT = 80; // answers

const kept = new Map(); // address -> promise of what it answered

async function get(address, read) {
  if (!kept.has(address)) {
    if (kept.size >= KEPT) kept.delete(kept.keys().next().value);
    const answer = fetch(address).then(async (response) => {
      if (response.ok) return read(response);
      const problem = await response.json().catch(() => ({}));
      throw new Error(problem.error || "The server did not answer. Reload the page.");
    });
    answer.catch(() => kept.delete(address));
    kept.set(address, answer);
  }
  return kept.get(address);
}

const readJson = (response) => response.json();
const readBytes = async (response) => new Uint8Array(await response.arrayBuffer());

// Colours: the length of a JSON legend, the legend, and for each point an index into its palette.
async function readColours(response) {
  const buffer = await response.arrayBuffer();
  const length = new DataView(buffer).getUint32(0, true);
  const legend = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length)));
  legend.index = new Int16Array(buffer.slice(4 + length));
  return legend;
}

const store = {
  // (N, 3) places one after the other; the third is 0 on a flat map.
  places({ api, unit, method, dims, map }) {
    const query = `unit=${unit}&method=${method}&dims=${dims}&map=${encodeURIComponent(map)}`;
    return get(`${api}/points?${query}`, async (response) => {
      const found = new Float32Array(await response.arrayBuffer());
      // A map of one's own has as many dimensions as it was made with, which the address says.
      if (dims === 3) return found;
      const xyz = new Float32Array((found.length / 2) * 3);
      for (let i = 0; i < found.length / 2; i++) {
        xyz[3 * i] = found[2 * i];
        xyz[3 * i + 1] = found[2 * i + 1];
      }
      return xyz;
    });
  },
  colours: ({ api, unit, by }) => get(`${api}/colours?unit=${unit}&by=${encodeURIComponent(by)}`, readColours),
  lesions: ({ api, unit }) => get(`${api}/lesions?unit=${unit}`, readJson),
  // (N,) 1 where a point is to be shown, or null where all are.
  shown: ({ api, unit, where }) =>
    where ? get(`${api}/filter?unit=${unit}&where=${encodeURIComponent(where)}`, readBytes) : null,
  contours({ api, unit, method, map, contours, dims }) {
    if (!contours || dims === 3) return null;
    return get(`${api}/contours?unit=${unit}&method=${method}&map=${encodeURIComponent(map)}`, readJson);
  },
  outlines({ api, unit, method, map, clusters, dims }) {
    if (!clusters || dims === 3) return null;
    const query = `unit=${unit}&method=${method}&map=${encodeURIComponent(map)}`;
    return get(`${api}/outlines?${query}&clusters=${encodeURIComponent(clusters)}`, readJson);
  },
  // The sheet of all small images, or null while the server is still making it.
  async sprites(api) {
    const address = `${api}/sprites`;
    const found = await get(address, async (response) =>
      response.status === 202 ? null : createImageBitmap(await response.blob()),
    );
    if (!found) kept.delete(address);
    return found;
  },
};

function drawSprite(sheet, context, row, x, y, side) {
  const [sx, sy] = [(row % SPRITES_A_LINE) * SPRITE, Math.floor(row / SPRITES_A_LINE) * SPRITE];
  context.imageSmoothingQuality = "high";
  context.drawImage(sheet, sx, sy, SPRITE, SPRITE, x, y, side, side);
}
