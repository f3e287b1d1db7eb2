"""The graphs have nothing that a runtime is known to compute wrongly: see `deploy/verify/reproductions.py`."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper

import feature_bundles
from export.bundle.format import Bundle
from export.graphs.reverse import with_gradient


def assert_portable(name: str, content: bytes) -> None:
    graph = onnx.load_model_from_string(content).graph
    assert not any(each.data_type == TensorProto.DOUBLE for each in graph.initializer), name
    shapes = onnx.shape_inference.infer_shapes(onnx.load_model_from_string(content)).graph.value_info
    assert not any(each.type.tensor_type.elem_type == TensorProto.DOUBLE for each in shapes), name
    for node in graph.node:
        assert node.op_type not in ("ReduceLogSumExp", "EyeLike"), f"{name}: {node.name}"
        if node.op_type == "Resize":  # by constant factors, not to a size that is computed from the batch
            assert len(node.input) == 3, f"{name}: {node.name}"


def test_of_pixels_and_classes(labelled_bundle: Path) -> None:
    opened = Bundle.open(str(labelled_bundle))
    for name in opened.manifest["graphs"]:
        assert_portable(name, opened.read(name))


def test_of_features() -> None:
    for name, content in feature_bundles.contents().files.items():
        if name.endswith(".onnx"):
            assert_portable(name, content)


@pytest.mark.parametrize("channels", [(3, 3), (3, 5)])
@pytest.mark.parametrize("operator", ["Conv", "ConvTranspose"])
def test_a_gradient_shares_no_weights_of_equal_shapes(operator: str, channels: tuple[int, int]) -> None:
    first, second = channels
    inputs, outputs = (second, first) if operator == "Conv" else (first, second)
    weights = numpy_helper.from_array(np.ones((first, second, 3, 3), np.float32), "w")
    axes = numpy_helper.from_array(np.array([1, 2, 3]), "axes")
    image = onnx.helper.make_tensor_value_info("z", TensorProto.FLOAT, ["N", inputs, 6, 6])
    total = onnx.helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N"])
    nodes = [
        onnx.helper.make_node(operator, ["z", "w"], ["c"], pads=[1, 1, 1, 1]),
        onnx.helper.make_node("ReduceSum", ["c", "axes"], ["y"], keepdims=0),
    ]
    graph = onnx.helper.make_graph(nodes, "graph", [image], [total], [weights, axes])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 20)], ir_version=10)
    content = with_gradient(model.SerializeToString(), "y", "z", "gradient")
    users = [node.op_type for node in onnx.load_model_from_string(content).graph.node if "w" in node.input]
    other = {"Conv": "ConvTranspose", "ConvTranspose": "Conv"}[operator]
    assert users == ([operator, "Neg"] if inputs == outputs else [operator, other])
