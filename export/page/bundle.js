/* A bundle as `vae export --for web` writes it: see export/targets/web.py. Nothing in it is trusted before it is checked. */

import { visible } from "./wording.js";

const MANIFEST = "manifest.json";
const WEIGHTS = "weights.bin";
const TYPES = { uint8: Uint8Array, float32: Float32Array };

export class BundleError extends Error {}

/* Where the files of a bundle come from: an address on this page's server. */
export function fromAddress(address) {
  const base = new URL(`${address.replace(/\/*$/, "")}/`, document.baseURI);
  if (base.origin !== location.origin) throw new BundleError(`A bundle must lie beside this page, got ${base.href}`);
  return async (name) => {
    const response = await fetch(new URL(encodeURIComponent(name), base));
    if (!response.ok) throw new BundleError(`${base.pathname}${name} is missing (HTTP ${response.status})`);
    return response.arrayBuffer();
  };
}

/* … or the files of a folder that a person chose, by name; null if it holds no bundle. */
export function fromFiles(files) {
  const found = files.find((file) => file.name === MANIFEST);
  if (!found) return null;
  const folder = (file) => (file.path ?? file.webkitRelativePath ?? "").replace(/[^/]*$/, "");
  const own = new Map(files.filter((file) => folder(file) === folder(found)).map((file) => [file.name, file]));
  return async (name) => {
    if (!own.has(name)) throw new BundleError(`The folder has no ${name}; choose one that \`vae export --for web\` wrote`);
    return own.get(name).arrayBuffer();
  };
}

function check(condition, problem) {
  if (!condition) throw new BundleError(`${MANIFEST} is not valid: ${problem}`);
}

const plain = (name) => typeof name === "string" && /^[A-Za-z0-9_][A-Za-z0-9_.-]*$/.test(name);

async function verified(read, name, entry) {
  const content = await read(name);
  if (content.byteLength !== entry.bytes) {
    throw new BundleError(`${name} must have ${entry.bytes} bytes, got ${content.byteLength}; copy the bundle again`);
  }
  if (globalThis.crypto?.subtle) { // absent from pages that come over http from another machine
    const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", content));
    const found = Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
    if (found !== entry.sha256) throw new BundleError(`${name} differs from its hash; copy the bundle again`);
  }
  return content;
}

/* Read and verify a bundle. Throws a BundleError with one sentence. */
export async function openBundle(read) {
  let manifest;
  try {
    const text = new TextDecoder("utf-8", { fatal: true }).decode(await read(MANIFEST));
    manifest = JSON.parse(text, (_, value) => (typeof value === "string" ? visible(value) : value)); // to be shown
  } catch (error) {
    if (error instanceof BundleError) throw error;
    throw new BundleError(`${MANIFEST} is not JSON; choose a folder that \`vae export --for web\` wrote`);
  }
  if (manifest?.web !== 1) {
    throw new BundleError(manifest?.calibration
      ? "This bundle is not for a browser; convert it with `vae export --bundle BUNDLE --for web --output FOLDER`"
      : `This page opens folders of \`vae export --for web\`, and this ${MANIFEST} is of something else`);
  }
  check(manifest.files && Object.keys(manifest.files).every(plain), "files must have plain names");
  check(Object.values(manifest.files).every(Boolean), "files must have sizes and hashes");
  check(manifest.prior?.latent_dim > 0 && manifest.model && manifest.calibration, "a part of it is missing");
  check(manifest.probe?.real_images <= manifest.probe?.arrays?.image?.shape?.[0], "the probe's images are missing");
  check(Array.isArray(manifest.image?.shape) && manifest.image.shape.length === 3, "image.shape must be [C, H, W]");
  check(Array.isArray(manifest.statistics), "statistics must be a list");
  check(manifest.graphs?.["scorer.onnx"] && manifest.graphs["explainer.onnx"], "the scorer and explainer are missing");

  const names = Object.keys(manifest.files);
  const contents = await Promise.all(names.map((name) => verified(read, name, manifest.files[name])));
  const files = new Map(names.map((name, index) => [name, contents[index]]));
  return new Bundle(manifest, files);
}

class Bundle {
  constructor(manifest, files) {
    this.manifest = manifest;
    this.files = files;
    [this.channels, this.height, this.width] = manifest.image.shape;
    this.latentSize = manifest.prior.latent_dim;
    this.statistics = manifest.statistics;
    this.classes = manifest.classes?.names ?? manifest.classes?.values?.map(String) ?? [];
    for (const name of [...Object.keys(manifest.graphs), WEIGHTS]) check(files.has(name), `${name} is not listed`);
  }

  /* Whether the decoder makes images: the model is one of pixels, and not of features. */
  get decodesImages() {
    return Boolean(this.manifest.graphs["decoder.onnx"]?.outputs.some((output) => output.name === "image"));
  }

  get weights() {
    return { name: WEIGHTS, content: this.files.get(WEIGHTS) };
  }

  /* Whether the arrays of a part, such as `prior`, are in the bundle. */
  has(part) {
    return Boolean(this.manifest[part]?.arrays);
  }

  /* One named array of a part, `probe` or `prior`: {data, shape, type}. */
  array(part, name) {
    const { file, arrays } = this.manifest[part];
    check(arrays[name] && this.files.has(file), `the array ${name} of ${part} is missing`);
    const { type, shape, offset } = arrays[name];
    check(type in TYPES, `the array ${name} must be uint8 or float32`);
    const length = shape.reduce((product, side) => product * side, 1);
    check(offset + length * TYPES[type].BYTES_PER_ELEMENT <= this.files.get(file).byteLength, `${name} is cut off`);
    return { type, shape, data: new TYPES[type](this.files.get(file), offset, length) };
  }

  /* Row `index` of an array of the probe. */
  probeRow(name, index) {
    const { shape, data } = this.array("probe", name);
    const size = data.length / shape[0];
    return data.slice(index * size, (index + 1) * size);
  }
}
