// Elements of the page, and the colours that its theme gives them.

import { SKY } from "./colours.js";

// An element with its class and text, where it has them; text is never read as HTML.
export function element(tag, name, text) {
  const made = document.createElement(tag);
  if (name) made.className = name;
  if (text !== undefined) made.textContent = text;
  return made;
}

export const accentOf = (style) => style.getPropertyValue("--st-primary-color").trim() || SKY;

// Any CSS colour as [red, green, blue], 0 to 255 each.
let probe;
export function toRgb(colour) {
  probe ??= new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
  probe.clearRect(0, 0, 1, 1);
  probe.fillStyle = colour;
  probe.fillRect(0, 0, 1, 1);
  return [...probe.getImageData(0, 0, 1, 1).data.slice(0, 3)];
}
