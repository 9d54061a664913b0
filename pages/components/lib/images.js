// Images of 64 x 64 pixels, as the models see them.

export const SIDE = 64;
export const PIXELS = SIDE * SIDE;
export const GREYS = Uint32Array.from({ length: 256 }, (_, grey) => 0xff000000 | (grey * 0x010101));

export const bytesOf = (base64) => Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));

// Fill a canvas of 64 x 64 with the pixel (a 32-bit number) that `pixelAt` gives for each place.
export function paintImage(context, pixelAt) {
  const image = context.createImageData(SIDE, SIDE);
  const pixels = new Uint32Array(image.data.buffer);
  for (let at = 0; at < PIXELS; at += 1) pixels[at] = pixelAt(at);
  context.putImageData(image, 0, 0);
}

export const paintGrey = (context, values) => paintImage(context, (at) => GREYS[values[at]]);
