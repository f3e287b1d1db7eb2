/* Arrays of pixels on canvases. */

/* The colour map inferno: uniform in lightness, so that it can be read in grey and by the colour-blind. */
const INFERNO = [
  "000004", "0c0826", "240c4f", "420a68", "5d126e", "781c6d", "932667", "ae305c", "c73e4c",
  "dd513a", "ed6925", "f8850f", "fca50a", "fac62d", "f2e661", "fcffa4",
].map((hex) => [0, 2, 4].map((at) => Number.parseInt(hex.slice(at, at + 2), 16)));

function inferno(share) {
  const at = Math.min(1, Math.max(0, share)) * (INFERNO.length - 1);
  const low = Math.min(Math.floor(at), INFERNO.length - 2);
  return INFERNO[low].map((value, channel) => value + (at - low) * (INFERNO[low + 1][channel] - value));
}

/* The width of an image on the page, of which no side may be longer than `most` pixels; small ones are enlarged by an
   integer, so that all of their pixels are equally large. */
export function shownWidth(height, width, most) {
  const factor = most / Math.max(height, width);
  return Math.round(width * (factor >= 2 ? Math.floor(factor) : factor));
}

/* Fit a canvas to images of a size; small ones have square pixels. */
function prepare(canvas, width, height) {
  if (canvas.width !== width || canvas.height !== height) [canvas.width, canvas.height] = [width, height];
  canvas.classList.toggle("crisp", Math.max(width, height) <= 64);
  return canvas.getContext("2d");
}

/* Draw planar pixels [C, H, W] of 1 (grey), 2 (grey and alpha), 3 (RGB) or 4 (RGBA) channels. */
export function paint(canvas, pixels, channels, height, width) {
  const context = prepare(canvas, width, height);
  const image = context.createImageData(width, height);
  const size = width * height;
  const colours = channels < 3 ? [0, 0, 0] : [0, 1, 2];
  for (let pixel = 0; pixel < size; pixel += 1) {
    colours.forEach((plane, at) => { image.data[4 * pixel + at] = pixels[plane * size + pixel]; });
    image.data[4 * pixel + 3] = channels % 2 ? 255 : pixels[(channels - 1) * size + pixel];
  }
  context.putImageData(image, 0, 0);
}

/* Draw a map [H, W] from 0 to `top` in colours; over the grey levels of an image, if given. */
export function paintMap(canvas, map, top, height, width, pixels = null, channels = 1) {
  const context = prepare(canvas, width, height);
  const image = context.createImageData(width, height);
  const size = width * height;
  for (let pixel = 0; pixel < size; pixel += 1) {
    const share = Math.min(1, Math.max(0, map[pixel] / top));
    const heat = inferno(share);
    const grey = pixels === null ? 0 : channels < 3
      ? pixels[pixel] : 0.299 * pixels[pixel] + 0.587 * pixels[size + pixel] + 0.114 * pixels[2 * size + pixel];
    // Where nothing is surprising the image shows, dimmed, so that bright places are the map's.
    const opacity = pixels === null ? 1 : share;
    heat.forEach((value, at) => { image.data[4 * pixel + at] = opacity * value + (1 - opacity) * 0.7 * grey; });
    image.data[4 * pixel + 3] = 255;
  }
  context.putImageData(image, 0, 0);
}
