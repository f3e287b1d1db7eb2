"""Whether a bundle should score in fp16: the scorer with fp16 layers against the scorer in fp32.

    python -m benchmarks.fp16 --bundle BUNDLE --inliers TEST.parquet --outliers OUTLIERS.parquet
    python -m benchmarks.fp16 --bundle BUNDLE --inliers TEST.parquet --outliers OUTLIERS.parquet --provider cuda

Convolutions and matrix products with weights compute in fp16, as does what lies between two of them; sums,
log-probabilities and densities stay in fp32. Prints how far scores and decisions are from those in fp32, the images per
second of both, and the size of the weights of a bundle whose scorer and explainer alone are in fp16, as with --int8.
"""

import argparse
import time
from functools import partial

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper
from scipy.stats import spearmanr

from benchmarks.outliers.settings import read
from benchmarks.results import alternate, medians
from export.bundle.format import EXPLAINER, SCORER, Bundle
from export.bundle.weights import WEIGHTS
from export.graphs.shared_weights import embed_weights, share_weights
from export.runtime.session import Arrays, Session, scoring_session
from jobs.evaluate.detection import auroc

_LAYERS = {"Conv", "ConvTranspose", "Gemm", "MatMul"}
_BETWEEN = {"Relu", "Reshape", "Flatten", "Transpose", "Slice", "DepthToSpace"}
_BATCH, _FPR, _SECONDS = 128, 0.01, 2.0


def in_fp16(content: bytes) -> bytes:
    """An ONNX graph whose layers compute in fp16."""
    model = onnx.load_model_from_string(content)
    graph = model.graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    nodes: list[NodeProto] = []
    halves: dict[str, str] = {}  # fp32 values → the same in fp16

    def half(name: str) -> str:
        if name and name not in halves:
            halves[name] = f"{name}.fp16"
            if name in constants:
                values = numpy_helper.to_array(constants[name]).astype(np.float16)
                graph.initializer.append(numpy_helper.from_array(values, halves[name]))
            else:
                nodes.append(helper.make_node("Cast", [name], [halves[name]], to=TensorProto.FLOAT16))
        return halves.get(name, "")

    for node in list(graph.node):
        is_layer = node.op_type in _LAYERS and node.input[1] in constants
        is_between = node.op_type in _BETWEEN and node.input[0] in halves
        if is_layer or is_between:
            (output,) = node.output
            count = len(node.input) if is_layer else 1  # others are shapes and axes
            inputs = [half(name) for name in node.input[:count]]
            halves[output] = f"{output}.fp16"
            changed = NodeProto()
            changed.CopyFrom(node)
            changed.ClearField("input")
            changed.input.extend([*inputs, *node.input[count:]])
            changed.output[0] = halves[output]
            cast = helper.make_node("Cast", [halves[output]], [output], to=TensorProto.FLOAT)
            nodes += [changed, cast]
        else:
            nodes.append(node)
    graph.ClearField("node")
    graph.node.extend(_used(nodes, {output.name for output in graph.output}))
    names = {name for node in graph.node for name in node.input}
    kept = [tensor for tensor in graph.initializer if tensor.name in names]
    graph.ClearField("initializer")
    graph.initializer.extend(kept)
    return bytes(model.SerializeToString())


def _used(nodes: list[NodeProto], wanted: set[str]) -> list[NodeProto]:
    """The nodes that the wanted values depend on, in order."""
    found = []
    for node in reversed(nodes):
        if wanted.intersection(node.output):
            wanted.update(node.input)
            found.append(node)
    return found[::-1]


def _rate(session: Session, batch: Arrays) -> float:
    """Images per second, over two seconds."""
    session.run(batch)
    began, count = time.perf_counter(), 0
    while time.perf_counter() - began < _SECONDS:
        session.run(batch)
        count += _BATCH
    return count / (time.perf_counter() - began)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", required=True)
    parser.add_argument("--inliers", required=True, help="Parquet of in-distribution images")
    parser.add_argument("--outliers", required=True, help="Parquet of outliers")
    parser.add_argument("--provider", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    bundle = Bundle.open(options.bundle)
    inliers, outliers = read(options.inliers), read(options.outliers)
    files = {name: embed_weights(bundle.graph(name)) for name in bundle.manifest["graphs"]}
    graphs = {"fp32": files[SCORER], "fp16": in_fp16(files[SCORER])}
    sessions = {name: scoring_session(content, options.provider) for name, content in graphs.items()}

    exact, found = (session.run_batched({"image": inliers}, _BATCH) for session in sessions.values())
    other, shifted = (session.run_batched({"image": outliers}, _BATCH) for session in sessions.values())
    for output in bundle.outputs(SCORER):
        a, b = exact[output.name].astype(np.float64), found[output.name].astype(np.float64)
        worst = (np.abs(a - b) / np.maximum(output.scale, np.abs(a))).max()
        print(f"{output.name:30} off by at most {worst:.1e}, fp32 may be by {output.tolerance:.1e}")
    a, b = exact["outlier_score"], found["outlier_score"]
    print(f"rank correlation of the scores of {len(inliers):,} inliers: {spearmanr(a, b).statistic:.5f}")
    print(f"AUROC against {len(outliers):,} outliers: {auroc(a, other['outlier_score']):.5f} in fp32, ", end="")
    print(f"{auroc(b, shifted['outlier_score']):.5f} in fp16")
    changed = ((exact["p_value"] <= _FPR) != (found["p_value"] <= _FPR)).sum()
    print(f"decisions changed at {_FPR}, with the p-values of fp32: {changed} of {len(inliers):,}")

    batch = {"image": inliers[:_BATCH]}
    rates = medians(alternate(options.rounds, {name: partial(_rate, each, batch) for name, each in sessions.items()}))
    for name, rate in rates.items():
        print(f"{name}: {rate:,.0f} images per second on {options.provider}")
    mixed = files | {name: in_fp16(files[name]) for name in (SCORER, EXPLAINER)}
    whole = {name: in_fp16(content) for name, content in files.items()}
    for name, contents in {"in fp32": files, "scorer and explainer in fp16": mixed, "all in fp16": whole}.items():
        print(f"weights, {name}: {len(share_weights(contents)[WEIGHTS]):,} bytes")


if __name__ == "__main__":
    main()
