"""Descriptors from ONNX files: one vector for each image; other files are refused with a sentence."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from export.runtime.descriptor import Descriptor
from linear_bundle import graph
from vae_core.errors import UserError

SHAPE = (2, 4, 3)
WEIGHT = np.random.default_rng(0).normal(size=(24, 5)).astype(np.float32)
IMAGES = np.random.default_rng(1).integers(0, 256, (150, *SHAPE), dtype=np.uint8)


def network(
    nodes: list[onnx.NodeProto],
    outputs: dict[str, list[object]],
    constants: dict[str, np.ndarray] | None = None,
    batch: object = "N",
    kind: int = TensorProto.UINT8,
) -> bytes:
    inputs = [helper.make_tensor_value_info("pixels", kind, [batch, *SHAPE])]
    made = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs.items()]
    return graph(nodes, inputs, made, constants or {})


CAST = helper.make_node("Cast", ["pixels"], ["level"], to=TensorProto.FLOAT)
FLATTEN = helper.make_node("Flatten", ["level"], ["flat"])
PRODUCT = helper.make_node("MatMul", ["flat", "weight"], ["vector"])
LINEAR = network([CAST, FLATTEN, PRODUCT], {"vector": ["N", 5]}, {"weight": WEIGHT})
MAPS = network([CAST], {"level": ["N", *SHAPE]})


def test_vectors_are_taken_as_they_are_and_maps_averaged() -> None:
    linear = Descriptor(LINEAR, SHAPE, "net.onnx", provider="cpu")
    expected = IMAGES.reshape(150, -1).astype(np.float64) @ WEIGHT
    np.testing.assert_allclose(linear.describe(IMAGES), expected, rtol=1e-4, atol=1e-3)
    assert (linear.size, linear.describe(IMAGES).dtype) == (5, np.float32)
    maps = Descriptor(MAPS, SHAPE, "net.onnx", provider="cpu")
    np.testing.assert_allclose(maps.describe(IMAGES), IMAGES.mean(axis=(2, 3)), rtol=1e-6)
    assert maps.size == 2


def with_external_weights() -> bytes:
    model = onnx.load_model_from_string(LINEAR)
    (weight,) = model.graph.initializer
    onnx.external_data_helper.set_external_data(weight, location="weights.bin")
    weight.ClearField("raw_data")
    content: bytes = model.SerializeToString()
    return content


TWO_INPUTS = graph(
    [helper.make_node("Add", ["a", "b"], ["sum"])],
    [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 3]) for name in ("a", "b")],
    [helper.make_tensor_value_info("sum", TensorProto.FLOAT, ["N", 3])],
    {},
)
TOTAL = helper.make_node("ReduceSum", ["level"], ["total"], keepdims=0)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"no network", "net.onnx must be an ONNX file that holds its weights, got "),
        (
            with_external_weights(),
            "net.onnx must be an ONNX file that holds its weights, got 'weight' with a reference",
        ),
        (b"", "net.onnx cannot be loaded by ONNX Runtime: "),
        (TWO_INPUTS, "net.onnx must have one input, got a, b"),
        (
            network([CAST, FLATTEN], {"level": ["N", *SHAPE], "flat": ["N", 24]}),
            "must have one output, got level, flat",
        ),
        (
            network([helper.make_node("Flatten", ["pixels"], ["flat"])], {"flat": ["N", 24]}, kind=TensorProto.FLOAT),
            r"must run on any number of images uint8 \[N,2,4,3\], but ONNX Runtime says: .*Unexpected input data type",
        ),
        (network([CAST], {"level": [1, *SHAPE]}, batch=1), "must run on any number of images uint8"),
        (network([CAST, TOTAL], {"total": []}), r"must have one vector .* for each image .*, got float32 \[\] for two"),
    ],
)
def test_other_files_are_refused(content: bytes, words: str) -> None:
    with pytest.raises(UserError, match=words):
        Descriptor(content, SHAPE, "net.onnx", provider="cpu")


def test_images_of_another_shape_are_refused() -> None:
    with pytest.raises(UserError, match=r"must run on any number of images uint8 \[N,3,9,9\], but ONNX Runtime says"):
        Descriptor(LINEAR, (3, 9, 9), "net.onnx", provider="cpu")
