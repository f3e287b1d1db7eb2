"""The fp16 form of a graph, which benchmarks/fp16.py compares with fp32."""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto
from scipy.stats import spearmanr

from benchmarks.fp16 import in_fp16
from export.bundle.format import SCORER, Bundle
from export.graphs.shared_weights import embed_weights
from export.runtime.session import scoring_session

LAYERS = {"Conv", "ConvTranspose", "Gemm", "MatMul"}


def test_layers_are_in_fp16_and_scores_rank_as_in_fp32(bundle: Path) -> None:
    opened = Bundle.open(str(bundle))
    exact = embed_weights(opened.graph(SCORER))
    halved = in_fp16(exact)
    graph = onnx.load_model_from_string(halved).graph
    types = {tensor.name: tensor.data_type for tensor in graph.initializer}
    weights = [node.input[1] for node in graph.node if node.op_type in LAYERS and node.input[1].endswith(".fp16")]
    assert weights
    assert {types[name] for name in weights} == {TensorProto.FLOAT16}
    assert len(halved) < 0.7 * len(exact)
    images = {"image": opened.examples}
    fp32, fp16 = scoring_session(exact).run(images), scoring_session(halved).run(images)
    assert not np.array_equal(fp32["outlier_score"], fp16["outlier_score"])
    assert spearmanr(fp32["outlier_score"], fp16["outlier_score"]).statistic > 0.999
