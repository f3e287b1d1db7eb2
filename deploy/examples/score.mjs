// Score images with onnxruntime-node, and check it against the bundle's own probe batch first.
//
//     node deploy/examples/score.mjs BUNDLE
//
// Needs onnxruntime-node in a folder node_modules above this file, or in the folder that NODE_MODULES names.
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { inflateRawSync } from 'node:zlib';

const require = createRequire(process.env.NODE_MODULES ? join(process.env.NODE_MODULES, 'x') : import.meta.url);
const ort = require('onnxruntime-node');
const bundle = process.argv[2];
if (!bundle) {
  console.error("usage: node deploy/examples/score.mjs BUNDLE");
  process.exit(2);
}
const manifest = JSON.parse(readFileSync(join(bundle, 'manifest.json')));
const probe = readArrays(readFileSync(join(bundle, 'probe.npz')));

const scorer = await ort.InferenceSession.create(join(bundle, 'scorer.onnx'));
const { data, shape } = probe.image; // uint8 [N, C, H, W]
const outputs = await scorer.run({ image: new ort.Tensor('uint8', data, shape) });

for (const { name, tolerance, scale } of manifest.graphs['scorer.onnx'].outputs) {
  const expected = probe[`scorer.${name}`].data;
  outputs[name].data.forEach((value, i) => {
    const difference = Math.abs(value - expected[i]) / Math.max(scale, Math.abs(expected[i]));
    if (!(difference <= tolerance)) {
      console.error(`${name} of image ${i} differs by ${difference}, ${tolerance} is allowed`);
      process.exit(1);
    }
  });
}
const scores = [...outputs.outlier_score.data];
const worst = scores.indexOf(Math.max(...scores));
const p = outputs.p_value.data[worst].toFixed(4);
console.log(`the probe batch agrees; image ${worst} of it is the most outlying, p = ${p}`);

// The arrays of an .npz file by name: a ZIP archive of .npy files, each a header in text and raw numbers.
function readArrays(file) {
  const arrays = {};
  let at = file.readUInt32LE(file.lastIndexOf('PK\x05\x06', undefined, 'latin1') + 16);
  while (file.readUInt32LE(at) === 0x02014b50) {
    const [nameLength, extra, comment] = [28, 30, 32].map((offset) => file.readUInt16LE(at + offset));
    const name = file.toString('utf8', at + 46, at + 46 + nameLength).replace(/\.npy$/, '');
    const local = file.readUInt32LE(at + 42);
    const begin = local + 30 + file.readUInt16LE(local + 26) + file.readUInt16LE(local + 28);
    const packed = file.subarray(begin, begin + file.readUInt32LE(at + 20));
    const npy = file.readUInt16LE(at + 10) ? inflateRawSync(packed) : packed;
    const end = 10 + npy.readUInt16LE(8);
    const header = npy.toString('latin1', 10, end);
    const dimensions = header.match(/'shape': \((.*?)\)/)[1].split(',').filter((text) => text.trim());
    const kind = { '|u1': Uint8Array, '<f4': Float32Array }[header.match(/'descr': '(.*?)'/)[1]];
    arrays[name] = { shape: dimensions.map(Number), data: new kind(new Uint8Array(npy.subarray(end)).buffer) };
    at += 46 + nameLength + extra + comment;
  }
  return arrays;
}
