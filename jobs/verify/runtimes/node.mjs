// node node.mjs PACKAGE FOLDER: the graphs of a work folder in an npm package, found below the directory NODE_MODULES.
import { existsSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { work } from './worker.mjs';

const [name, folder] = process.argv.slice(2);
const require = createRequire(join(process.env.NODE_MODULES, 'resolve.js'));
const ort = (await import(pathToFileURL(require.resolve(name)))).default;
if (name === 'onnxruntime-web') ort.env.wasm.numThreads = 1; // others are workers of a browser
const task = JSON.parse(readFileSync(join(folder, 'task.json')));
const files = {
  task: { ...task, done: task.graphs.map((graph) => graph.name).filter((each) => existsSync(join(folder, `results/${each}.json`))) },
  read: (path) => new Uint8Array(readFileSync(join(folder, path))),
  write: (path, bytes) => {
    writeFileSync(join(folder, `${path}.tmp`), bytes);
    renameSync(join(folder, `${path}.tmp`), join(folder, path));
  },
};
await work(ort, [name === 'onnxruntime-web' ? 'wasm' : 'cpu'], files);
