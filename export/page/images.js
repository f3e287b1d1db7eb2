/* From a picture file to the pixels that a model takes, as export/images does it in Python: the same size and channels
   pass unchanged, anything else is converted, and `notes` say how. */

const MAX_PIXELS = 2 ** 26; // a header that declares more is treated as a decompression bomb
const MAX_BYTES = 2 ** 28;
const KINDS = { 1: "grey", 2: "grey and alpha", 3: "RGB", 4: "RGB and alpha" };
const PNG_CHANNELS = { 0: 1, 2: 3, 4: 2, 6: 4 }; // by colour type; a palette (3) may have transparent entries

export class ImageError extends Error {}

/* {width, height, channels, bits} from the header of a PNG or JPEG file, channels 0 if it does not say; else null. */
export function readHeader(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (bytes.length > 26 && view.getUint32(0) === 0x89504e47) {
    return { width: view.getUint32(16), height: view.getUint32(20), bits: bytes[24], channels: PNG_CHANNELS[bytes[25]] ?? 0 };
  }
  if (bytes.length > 4 && view.getUint16(0) === 0xffd8) {
    for (let at = 2; at + 9 < bytes.length;) {
      if (bytes[at] !== 0xff) return null;
      const marker = bytes[at + 1];
      if (marker >= 0xc0 && marker <= 0xcf && ![0xc4, 0xc8, 0xcc].includes(marker)) {
        return { width: view.getUint16(at + 7), height: view.getUint16(at + 5), bits: bytes[at + 4], channels: bytes[at + 9] === 1 ? 1 : 3 };
      }
      at += marker === 0xff ? 1 : 2 + view.getUint16(at + 2);
    }
  }
  return null;
}

/* Decode a file to interleaved RGBA, as stored: no colour profile is applied. Orientation is. */
async function decode(file) {
  if (file.size > MAX_BYTES) throw new ImageError("an image file must have at most 256 MiB");
  const header = readHeader(new Uint8Array(await file.slice(0, 1 << 18).arrayBuffer()));
  if (header && header.width * header.height > MAX_PIXELS) {
    throw new ImageError(`an image must have at most 64 Mpx, got ${header.width}×${header.height}`);
  }
  let bitmap;
  try {
    bitmap = await createImageBitmap(file, { colorSpaceConversion: "none", premultiplyAlpha: "none" });
  } catch (error) {
    throw new ImageError("this is not an image that the browser can decode");
  }
  const { width, height } = bitmap;
  if (width * height > MAX_PIXELS) throw new ImageError(`an image must have at most 64 Mpx, got ${width}×${height}`);
  const context = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  const pixels = context.getImageData(0, 0, width, height).data;
  return { pixels, width, height, bits: header?.bits ?? 8, channels: header?.channels || guessChannels(pixels) };
}

function guessChannels(pixels) {
  let [grey, opaque] = [true, true];
  for (let at = 0; at < pixels.length && (grey || opaque); at += 4) {
    grey &&= pixels[at] === pixels[at + 1] && pixels[at] === pixels[at + 2];
    opaque &&= pixels[at + 3] === 255;
  }
  return (grey ? 1 : 3) + (opaque ? 0 : 1);
}

/* Read an image for a model of images [channels, height, width]: {pixels, notes}. Throws an ImageError. */
export async function readImage(file, channels, height, width) {
  const image = await decode(file);
  const notes = [];
  if (image.bits > 8) notes.push(`${image.bits} bits reduced to 8`);
  if (image.channels !== channels) notes.push(`${KINDS[image.channels] ?? `${image.channels} channels`} made ${KINDS[channels]}`);
  const recoloured = recolour(image, channels);
  if (image.width !== width || image.height !== height) {
    notes.push(`letterboxed from ${image.width}×${image.height} to ${width}×${height}`);
  }
  return { pixels: letterbox(recoloured, channels, image.height, image.width, height, width), notes };
}

/* Interleaved RGBA as planes [channels, height, width]: over white without alpha, grey as OpenCV weighs it. */
export function recolour({ pixels, width, height, channels: stored }, channels) {
  const size = width * height;
  const planes = new Uint8Array(channels * size);
  const flatten = channels % 2 === 1 && stored % 2 === 0;
  const weigh = channels < 3 && stored >= 3;
  for (let pixel = 0; pixel < size; pixel += 1) {
    let [red, green, blue, alpha] = pixels.subarray(4 * pixel, 4 * pixel + 4);
    if (flatten) {
      [red, green, blue] = [red, green, blue].map((value) => Math.floor((value * alpha + 255 * (255 - alpha) + 127) / 255));
    }
    if (channels < 3) planes[pixel] = weigh ? (9798 * red + 19235 * green + 3735 * blue + 16384) >> 15 : red;
    else [red, green, blue].forEach((value, plane) => { planes[plane * size + pixel] = value; });
    if (channels % 2 === 0) planes[(channels - 1) * size + pixel] = alpha;
  }
  return planes;
}

/* To the nearest integer, halves to the even one, as Python rounds. */
function round(value) {
  const low = Math.floor(value);
  if (value - low !== 0.5) return Math.round(value);
  return low % 2 ? low + 1 : low;
}

/* For each of `to` places along an axis of `from`, [first, weights]: areas when shrinking, else linear. */
function weightsAlong(from, to) {
  const scale = from / to;
  return Array.from({ length: to }, (_, place) => {
    if (scale <= 1) {
      const centre = Math.min(from - 1, Math.max(0, (place + 0.5) * scale - 0.5));
      const first = Math.min(Math.floor(centre), from - 1);
      return first === centre ? [first, [1]] : [first, [1 - (centre - first), centre - first]];
    }
    const [start, stop] = [place * scale, Math.min(from, (place + 1) * scale)];
    const first = Math.floor(start);
    const weights = [];
    for (let at = first; at < stop - 1e-9; at += 1) weights.push((Math.min(at + 1, stop) - Math.max(at, start)) / (stop - start));
    return [first, weights];
  });
}

/* Scale planes by one factor to fit into [height, width], centred on zeros; see `letterbox` in export/images. */
export function letterbox(planes, channels, rows, columns, height, width) {
  if (rows === height && columns === width) return planes;
  const factor = Math.min(height / rows, width / columns);
  const [tall, wide] = [Math.max(1, round(rows * factor)), Math.max(1, round(columns * factor))];
  const [top, left] = [Math.floor((height - tall) / 2), Math.floor((width - wide) / 2)];
  const [down, across] = [weightsAlong(rows, tall), weightsAlong(columns, wide)];
  const boxed = new Uint8Array(channels * height * width);
  const narrowed = new Float64Array(rows * wide);
  for (let plane = 0; plane < channels; plane += 1) {
    for (let row = 0; row < rows; row += 1) {
      across.forEach(([first, weights], column) => {
        const start = (plane * rows + row) * columns + first;
        narrowed[row * wide + column] = weights.reduce((sum, weight, at) => sum + weight * planes[start + at], 0);
      });
    }
    down.forEach(([first, weights], row) => {
      for (let column = 0; column < wide; column += 1) {
        const value = weights.reduce((sum, weight, at) => sum + weight * narrowed[(first + at) * wide + column], 0);
        boxed[(plane * height + top + row) * width + left + column] = Math.round(value);
      }
    });
  }
  return boxed;
}
