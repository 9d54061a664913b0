// The colours of maps and images. They stand in colours.json, from which lungvae_core.palette takes them, too.

import colours from "./colours.json" with { type: "json" };

export const SKY = colours.okabeIto.sky;
export const ORANGE = colours.okabeIto.orange;
export const BLUE = colours.okabeIto.blue;
export const VERMILLION = colours.okabeIto.vermillion;
export const UNKNOWN = colours.unknown;

// "#rrggbb" as [red, green, blue], 0 to 255 each.
export const fromHex = (hex) => [1, 3, 5].map((start) => parseInt(hex.slice(start, start + 2), 16));

// A colour as an opaque pixel of an image's data read as 32-bit numbers.
export const asPixel = ([red, green, blue]) => (0xff000000 | (blue << 16) | (green << 8) | red) >>> 0;

const [LESS, NONE, MORE] = [SKY, colours.night, ORANGE].map(fromHex);

// The pixel of a difference: blue below zero, near black at it, orange above; full colour at a `share` of -1 or 1.
export function differencePixel(share) {
  const full = share < 0 ? LESS : MORE;
  const amount = Math.min(Math.abs(share), 1);
  return asPixel(NONE.map((none, channel) => Math.round(none + (full[channel] - none) * amount)));
}
