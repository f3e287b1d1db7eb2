/* The graphs of a bundle, run by ONNX Runtime Web in a worker. */

const RUNTIME = new URL("runtime/", document.baseURI).href;

export const PROVIDERS = { wasm: "WebAssembly", webgpu: "WebGPU" };

/* Whether this browser has a WebGPU adapter. */
export async function hasWebGPU() {
  try {
    return Boolean(await navigator.gpu?.requestAdapter());
  } catch (error) { // blocked by the browser's settings
    return false;
  }
}

/* Whether ONNX Runtime Web lies beside the page. */
export async function hasRuntime() {
  try {
    return (await fetch(new URL("ort.wasm.bundle.min.mjs", RUNTIME), { method: "HEAD" })).ok;
  } catch (error) { // opened from a file
    return false;
  }
}

export class Engine {
  #worker = new Worker(new URL("worker.js", import.meta.url), { type: "module" });
  #waiting = new Map();
  #next = 0;

  constructor() {
    this.#worker.onmessage = ({ data: { id, result, problem } }) => {
      const { resolve, reject } = this.#waiting.get(id);
      this.#waiting.delete(id);
      if (problem === undefined) resolve(result);
      else reject(new Error(problem));
    };
    this.#worker.onerror = (event) => {
      for (const { reject } of this.#waiting.values()) reject(new Error(event.message || "the worker did not start"));
      this.#waiting.clear();
    };
  }

  #ask(message) {
    return new Promise((resolve, reject) => {
      const id = this.#next++;
      this.#waiting.set(id, { resolve, reject });
      this.#worker.postMessage({ id, ...message });
    });
  }

  /* Open every graph of a bundle. */
  open(bundle, provider) {
    const names = Object.keys(bundle.manifest.graphs);
    return this.#ask({
      task: "open",
      provider,
      runtime: RUNTIME,
      graphs: names.map((name) => [name, bundle.files.get(name)]),
      weights: bundle.weights,
    });
  }

  /* Run a graph on named arrays {type, shape, data}; all outputs, or those named. */
  run(graph, inputs, outputs) {
    return this.#ask({ task: "run", graph, inputs, outputs });
  }

  close() {
    this.#worker.terminate();
  }
}
