// Runs the graphs of a work folder in onnxruntime-node or onnxruntime-web; see python_worker.py, which does the same.
//
// work(ort, providers, files) asks the object `files` to read and to write:
//   files.task                      the content of task.json
//   await files.read(name)          Uint8Array, a file of the folder
//   await files.write(name, bytes)  to a file of the folder

const ARRAYS = { float32: Float32Array, uint8: Uint8Array };

export async function work(ort, providers, files) {
  const weights = await files.read('weights.bin');
  for (const graph of files.task.graphs) {
    const progress = { stage: 'loading', outputs: {} };
    const record = () =>
      files.write(`results/${graph.name}.json`, new TextEncoder().encode(JSON.stringify(progress)));
    if (files.task.done.includes(graph.name)) continue;
    await record();
    try {
      const session = await ort.InferenceSession.create(await files.read(graph.name), {
        executionProviders: providers,
        externalData: [{ path: 'weights.bin', data: weights }],
      });
      for (const size of files.task.batches) {
        Object.assign(progress, { stage: 'running', batch: size });
        await record();
        const found = await runAll(ort, session, graph, files, size);
        progress.outputs[size] = {};
        for (const [name, { type, shape, bytes }] of Object.entries(found)) {
          const number = Object.keys(graph.outputs).indexOf(name);
          await files.write(`results/${graph.name}.${size}.${number}.bin`, bytes);
          progress.outputs[size][name] = { type, shape };
        }
      }
      progress.stage = 'done';
      await session.release();
    } catch (error) {
      progress.error = String(error?.message ?? error);
    }
    await record();
  }
}

// The outputs for all rows, `size` at a time; the last batch is filled up with the first rows again.
async function runAll(ort, session, graph, files, size) {
  const stored = {};
  for (const name of Object.keys(graph.inputs)) stored[name] = await files.read(files.task.inputs[name].file);
  const rows = files.task.inputs[Object.keys(graph.inputs)[0]].shape[0];
  const pieces = {};
  for (let start = 0; start < rows; start += size) {
    const feeds = {};
    for (const name of Object.keys(graph.inputs)) {
      const { type, shape } = files.task.inputs[name];
      const width = stored[name].length / rows;
      const batch = new Uint8Array(size * width);
      for (let i = 0; i < size; i++) {
        const row = (start + i) % rows;
        batch.set(stored[name].subarray(row * width, (row + 1) * width), i * width);
      }
      feeds[name] = new ort.Tensor(type, new ARRAYS[type](batch.buffer), [size, ...shape.slice(1)]);
    }
    const outputs = await session.run(feeds, Object.keys(graph.outputs));
    for (const [name, value] of Object.entries(outputs)) {
      const data = await value.getData();
      const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength).slice();
      (pieces[name] ??= { type: value.type, dims: value.dims, parts: [] }).parts.push(bytes);
    }
  }
  const found = {};
  for (const [name, { type, dims, parts }] of Object.entries(pieces)) {
    const width = parts[0].length / dims[0];
    const bytes = new Uint8Array(parts.length * parts[0].length);
    parts.forEach((part, i) => bytes.set(part, i * part.length));
    found[name] = { type, shape: [rows, ...dims.slice(1)], bytes: bytes.subarray(0, rows * width) };
  }
  return found;
}
