/* ONNX Runtime Web in a thread of its own, so that the page answers while a graph runs. */

let sessions = new Map();
let tensor = null;
let turn = Promise.resolve(); // a session runs one batch at a time

async function open({ provider, runtime, graphs, weights }) {
  const webgpu = provider === "webgpu";
  const ort = await import(new URL(webgpu ? "ort.webgpu.bundle.min.mjs" : "ort.wasm.bundle.min.mjs", runtime).href);
  const binary = webgpu ? "ort-wasm-simd-threaded.asyncify.wasm" : "ort-wasm-simd-threaded.wasm";
  ort.env.wasm.numThreads = 1; // more need headers that few servers send
  ort.env.wasm.wasmPaths = { wasm: new URL(binary, runtime).href };
  ort.env.logLevel = "error";
  tensor = ({ type, shape, data }) => new ort.Tensor(type, data, shape);
  for (const [name, content] of graphs) {
    sessions.set(name, await ort.InferenceSession.create(new Uint8Array(content), {
      executionProviders: [provider],
      logSeverityLevel: 3, // errors: WebGPU warns of the shapes that it computes on the processor
      externalData: [{ path: weights.name, data: new Uint8Array(weights.content) }],
    }));
  }
}

async function run({ graph, inputs, outputs }) {
  const feeds = Object.fromEntries(Object.entries(inputs).map(([name, value]) => [name, tensor(value)]));
  const session = sessions.get(graph);
  const results = await session.run(feeds, outputs ?? session.outputNames);
  return Object.fromEntries(Object.entries(results).map(([name, { type, dims, data }]) =>
    [name, { type, shape: [...dims], data }]));
}

self.onmessage = ({ data: { id, task, ...rest } }) => {
  turn = turn.then(async () => {
    try {
      self.postMessage({ id, result: await (task === "open" ? open(rest) : run(rest)) });
    } catch (error) {
      self.postMessage({ id, problem: String(error?.message ?? error) });
    }
  });
};
