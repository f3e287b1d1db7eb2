"""Networks image → vector, written by hand: no torch, and built instantly."""

from onnx import TensorProto, helper

from gaussian_bundle import SHAPE
from linear_bundle import graph

__all__ = ["PIXELS_AS_VECTOR", "SHAPE"]

PIXELS_AS_VECTOR = graph(
    [
        helper.make_node("Cast", ["image"], ["level"], to=TensorProto.FLOAT),
        helper.make_node("Flatten", ["level"], ["vector"]),
    ],
    [helper.make_tensor_value_info("image", TensorProto.UINT8, ["N", *SHAPE])],
    [helper.make_tensor_value_info("vector", TensorProto.FLOAT, ["N", 16])],
    {},
)
"""The grey levels of the images of `gaussian_bundle`."""
