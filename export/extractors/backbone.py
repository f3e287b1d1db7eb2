"""A backbone's feature maps, from an ONNX file or a torchvision model, as one graph: image → maps.

    image uint8 [N,C,H,W] → grey to RGB, resize, scale → backbone → its maps, resized to one grid, as channels

A backbone is an ONNX graph with one input, RGB images [N,3,h,w], and one or more outputs that are feature maps
[N,F,h',w']. If its input is float32, images are resized, scaled to [0, 1] and normalised by the mean and standard
deviation of ImageNet, as most pretrained networks expect; if it is uint8, the graph does that itself. An input whose
height and width are fixed sets the size; otherwise the shorter side becomes at least 128 pixels.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import onnx
import torch
from onnx import compose, external_data_helper, inliner
from torch import Tensor
from torch.nn import functional as F

from export.graphs.chain import chain, in_our_opset
from export.graphs.convert import to_onnx
from export.graphs.modules import Graph
from export.runtime.session import Arrays, Session
from vae_core.batch import IMAGE, Batch
from vae_core.errors import UserError
from vae_core.features.filter_bank import GRID
from vae_core.interpolation import bilinear
from vae_core.models.pixels import IMAGES
from vae_core.outputs import Output

_LEAST_SIDE, _MULTIPLE = 128, 32  # pixels: of images whose size the backbone leaves open
_MEAN, _DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet's RGB in [0, 1], as torchvision has them
_PREFIX = "backbone/"
MAPS = Output("maps", "feature maps", "as the extractor computes them")


class _Contract(NamedTuple):
    """What a backbone takes and makes."""

    name: str  # of the input
    takes_levels: bool  # uint8
    size: tuple[int, int] | None  # height and width; None for any
    outputs: list[str]


def backbone_graph(content: bytes, shape: tuple[int, int, int], where: str) -> bytes:
    """The backbone for images of this shape (C, H, W), as a graph: image → maps.

    Args:
        content: of an ONNX file.
        shape: of the images.
        where: what the file is called in errors.

    Raises:
        UserError: it is not such a graph.
    """
    model = _load(content, where)
    contract = _read(model, where)
    size = contract.size or free_size(*shape[1:])
    given = Output(contract.name, "images as the backbone takes them", "1")
    front = _Front(size, given, contract.takes_levels)
    example = np.zeros((2, *shape), np.uint8)
    whole = chain(to_onnx(front, "front", {IMAGE: example}), model.SerializeToString(), "backbone")
    try:
        maps = Session(whole, provider="cpu").run({IMAGE: example})
    except Exception as error:  # ONNX Runtime raises its own kinds
        raise UserError(
            f"{where} must run on images [N,3,{size[0]},{size[1]}], but ONNX Runtime says: {_in_a_line(error)}"
        ) from error
    for name, values in maps.items():
        if values.ndim != 4 or len(values) != 2 or values.dtype != np.float32:
            shown = name.removeprefix(_PREFIX)
            raise UserError(
                f"{where}: output {shown} must be feature maps, float32 [N,F,h,w], got {values.dtype} "
                f"{list(values.shape)}; give a file whose outputs are feature maps"
            )
    back = _Back([Output(name, "feature maps", "1") for name in contract.outputs], maps)
    return chain(whole, to_onnx(back, "back", maps), "backbone")


class _Front(Graph):
    """Images as the backbone takes them: image uint8 [N,C,H,W] → [N,3,h,w]."""

    inputs = (IMAGES,)

    def __init__(self, size: tuple[int, int], given: Output, takes_levels: bool) -> None:
        super().__init__()
        self.outputs = (given,)
        self.size, self.takes_levels = size, takes_levels
        self.register_buffer("mean", 255.0 * torch.tensor(_MEAN)[:, None, None])
        self.register_buffer("deviation", 255.0 * torch.tensor(_DEVIATION)[:, None, None])

    def compute(self, batch: Batch) -> dict[str, Tensor]:
        """See the class."""
        level = batch[IMAGE].float()
        level = level[:, :3] if level.shape[1] >= 3 else level[:, :1].expand(-1, 3, -1, -1)
        if level.shape[2:] != self.size:
            level = bilinear(level, self.size)
        if self.takes_levels:
            return {self.outputs[0].name: level.round().to(torch.uint8)}
        return {self.outputs[0].name: (level - self.get_buffer("mean")) / self.get_buffer("deviation")}


class _Back(Graph):
    """The maps of a backbone on one grid, that of its largest map or 16×16 if that is smaller."""

    outputs = (MAPS,)

    def __init__(self, inputs: Sequence[Output], example: Arrays) -> None:
        super().__init__()
        self.inputs = tuple(inputs)
        height, width = (max(values.shape[axis] for values in example.values()) for axis in (2, 3))
        self.grid = (min(height, GRID), min(width, GRID))

    def compute(self, batch: Batch) -> dict[str, Tensor]:
        """See the class."""
        return {MAPS.name: torch.cat([self._on_grid(batch[value.name]) for value in self.inputs], 1)}

    def _on_grid(self, maps: Tensor) -> Tensor:
        rows, columns = maps.shape[2:]
        if (rows, columns) == self.grid:
            return maps
        if rows % self.grid[0] == 0 and columns % self.grid[1] == 0:
            return F.avg_pool2d(maps, (rows // self.grid[0], columns // self.grid[1]))
        return bilinear(maps, self.grid)


def free_size(height: int, width: int) -> tuple[int, int]:
    """The size at which a backbone of any size sees images: multiples of its largest stride, about in proportion."""
    scale = max(1.0, _LEAST_SIDE / min(height, width))
    return _MULTIPLE * round(scale * height / _MULTIPLE), _MULTIPLE * round(scale * width / _MULTIPLE)


def _load(content: bytes, where: str) -> onnx.ModelProto:
    try:
        model = inliner.inline_local_functions(onnx.load_model_from_string(content))
        # The checker accepts another file that happens to lie in the working directory.
        if any(map(external_data_helper.uses_external_data, model.graph.initializer)):
            raise ValueError("weights in another file")
        onnx.checker.check_model(model)
        return compose.add_prefix(in_our_opset(model), _PREFIX)
    except Exception as error:
        raise UserError(f"{where} must be an ONNX file that holds its weights, got: {_in_a_line(error)}") from error


def _in_a_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]


def _read(model: onnx.ModelProto, where: str) -> _Contract:
    weights = {item.name for item in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in weights]
    if len(inputs) != 1:
        raise UserError(f"{where} must have one input, the image, got {len(inputs)}")
    tensor = inputs[0].type.tensor_type
    sides = [side.dim_value for side in tensor.shape.dim]  # 0 where it is free
    types = {onnx.TensorProto.UINT8: True, onnx.TensorProto.FLOAT: False}
    if tensor.elem_type not in types or len(sides) != 4 or sides[1] not in (0, 3):
        found = onnx.TensorProto.DataType.Name(tensor.elem_type).lower()  # "undefined" of what is no tensor
        raise UserError(f"{where} must take RGB images [N,3,h,w], float32 or uint8, got {found} {sides}")
    if sides[0] != 0:
        raise UserError(
            f"{where} must take any number of images, got {sides[0]} as its first dimension; export it anew"
        )
    size = (sides[2], sides[3]) if sides[2] and sides[3] else None
    return _Contract(inputs[0].name, types[tensor.elem_type], size, [value.name for value in model.graph.output])
