// What a map shows, fetched once a browser tab: places in binary, colours, facts, filters, lines, images.

import { forget, get, readBytes, readJson } from "../lib/answers.js";
import { colours, places } from "../lib/places.js";

const SPRITE = 32; // pixels a side in the sheet of sprites
const SPRITES_A_LINE = 128;
export const MOST_SPRITES = 40_000; // a larger sheet would take gigabytes once decoded; cards then ask for their own

export const store = {
  places,
  colours,
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
    const sheet = await get(address, async (response) =>
      response.status === 202 ? null : createImageBitmap(await response.blob()),
    );
    if (!sheet) forget(address);
    return sheet;
  },
};

export function drawSprite(sheet, context, row, x, y, side) {
  const [sx, sy] = [(row % SPRITES_A_LINE) * SPRITE, Math.floor(row / SPRITES_A_LINE) * SPRITE];
  context.imageSmoothingQuality = "high";
  context.drawImage(sheet, sx, sy, SPRITE, SPRITE, x, y, side, side);
}
