"""The filter bank as a descriptor of whole images: image → one vector, an ONNX graph.

The maps of the bank are averaged over the four quarters of the image: enough to see where things are, and few enough
numbers for a covariance of some thousand images. It needs no download, and is a fixed function of the image.
"""

import numpy as np
import torch
from torch import Tensor

from export.graphs.convert import to_onnx
from export.graphs.modules import Graph
from vae_core.batch import IMAGE, Batch
from vae_core.features.filter_bank import FilterBank
from vae_core.models.pixels import IMAGES
from vae_core.outputs import Output

_VECTORS = Output("vector", "the filter bank's maps, averaged over each quarter of the image", "as the bank's")


def filter_bank_descriptor(shape: tuple[int, int, int]) -> bytes:
    """The graph image uint8 [N,C,H,W] → vector float32 [N,4F] for images of this shape, with the F maps of the bank."""
    return to_onnx(_Descriptor(shape), "descriptor", {IMAGE: np.zeros((2, *shape), np.uint8)})


class _Descriptor(Graph):
    """The bank, and means over the quarters of its maps."""

    inputs, outputs = (IMAGES,), (_VECTORS,)

    def __init__(self, shape: tuple[int, int, int]) -> None:
        super().__init__()
        self.bank = FilterBank(shape)
        down, across = self.bank.grid
        self.register_buffer("down", _halves(down))
        self.register_buffer("across", _halves(across).T.contiguous())

    def compute(self, batch: Batch) -> dict[str, Tensor]:
        """See the class."""
        maps = self.bank(batch[IMAGE])
        quarters = self.get_buffer("down") @ maps @ self.get_buffer("across")
        return {_VECTORS.name: quarters.flatten(1)}


def _halves(size: int) -> Tensor:
    """The means of both halves of `size` places, [2, size]; of an odd number the middle one is in both."""
    half = -(-size // 2)
    weights = torch.zeros(2, size)
    weights[0, :half] = weights[1, size - half :] = 1.0 / half
    return weights
