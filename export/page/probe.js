/* Compare what this browser computes with the bundle's probe batch, with the tolerance that each output states. */

const IMAGE_LEVELS = 1; // grey levels by which images of two runtimes may differ

/* The worst difference of each output of a graph: [{graph, output, worst, allowed, ok}]. */
async function compareGraph(engine, bundle, graph) {
  const { inputs, outputs } = bundle.manifest.graphs[graph];
  const found = await engine.run(graph, Object.fromEntries(inputs.map(({ name }) => [name, bundle.array("probe", name)])));
  const name = (output) => `${graph.replace(".onnx", "")}.${output.name}`;
  return outputs.filter((output) => name(output) in bundle.manifest.probe.arrays).map((output) => {
    const { data: values, type } = found[output.name];
    const { data: expected } = bundle.array("probe", name(output));
    let worst = values.length === expected.length ? 0 : Infinity;
    for (let index = 0; index < expected.length; index += 1) {
      const delta = Math.abs(values[index] - expected[index]);
      const own = type === "uint8" ? delta : delta / Math.max(output.scale, Math.abs(expected[index]));
      if (!(own <= worst)) worst = own; // NaN stays
    }
    const allowed = type === "uint8" ? IMAGE_LEVELS : output.tolerance;
    return { graph, output: output.name, unit: type === "uint8" ? "levels" : "", worst, allowed, ok: worst <= allowed };
  });
}

export async function compareWithProbe(engine, bundle) {
  const rows = [];
  for (const graph of Object.keys(bundle.manifest.graphs)) rows.push(...await compareGraph(engine, bundle, graph));
  return rows;
}
