"""Tiny backbones as ONNX files: two convolutions with random weights, whose maps have strides 4 and 8."""

from collections.abc import Sequence

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

STRIDES = (4, 8)
CHANNELS = (4, 6)
FREE = ("height", "width")


class Backbone(nn.Module):
    """Normalised RGB images (N, 3, h, w) → maps (N, 4, h/4, w/4) and (N, 6, h/8, w/8)."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.first = nn.Conv2d(3, CHANNELS[0], kernel_size=4, stride=4)
            self.second = nn.Conv2d(CHANNELS[0], CHANNELS[1], kernel_size=3, stride=2, padding=1)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """See the class."""
        early = self.first(image).relu()
        return early, self.second(early)


def backbone(
    size: Sequence[str | int] = FREE, batch: str | int = "batch", levels: bool = False, opset: int = 20
) -> onnx.ModelProto:
    """The ONNX model of `Backbone` for images of a size; of uint8 `levels` it takes a 255th first."""
    kind = TensorProto.UINT8 if levels else TensorProto.FLOAT
    image = helper.make_tensor_value_info("image", kind, [batch, 3, *size])
    nodes = [
        helper.make_node("Conv", ["scaled" if levels else "image", "w1", "b1"], ["c1"], strides=[4, 4]),
        helper.make_node("Relu", ["c1"], ["early"]),
        helper.make_node("Conv", ["early", "w2", "b2"], ["late"], strides=[2, 2], pads=[1, 1, 1, 1]),
    ]
    if levels:
        nodes[:0] = [
            helper.make_node("Cast", ["image"], ["float"], to=TensorProto.FLOAT),
            helper.make_node("Div", ["float", "white"], ["scaled"]),
        ]
    network = Backbone()
    weights = {"w1": network.first.weight, "b1": network.first.bias, "w2": network.second.weight}
    arrays = {name: value.detach().numpy() for name, value in {**weights, "b2": network.second.bias}.items()}
    if levels:
        arrays["white"] = np.array(255, np.float32)
    outputs = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [batch, channels, None, None])
        for name, channels in zip(("early", "late"), CHANNELS, strict=True)
    ]
    constants = [numpy_helper.from_array(value, name) for name, value in arrays.items()]
    return helper.make_model(
        helper.make_graph(nodes, "backbone", [image], outputs, constants),
        opset_imports=[helper.make_opsetid("", opset)],
        ir_version=8,
    )
