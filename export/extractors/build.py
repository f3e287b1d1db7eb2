"""Make the extractor of a run: image → standardised feature maps, one ONNX graph.

The filter bank or the backbone first computes raw feature maps; their whitening over training images follows. Both are
fixed from then on: a model is trained on the maps, and the graphs of its bundle begin with the extractor.
"""

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from export.graphs.chain import chain
from export.graphs.convert import to_onnx
from export.graphs.modules import Graph
from export.runtime.session import Session
from vae_core.batch import FEATURES, IMAGE, Batch
from vae_core.config import FeatureModelConfig
from vae_core.features.filter_bank import FilterBank
from vae_core.features.whitening import fit_whitening
from vae_core.models.pixels import IMAGES
from vae_core.outputs import Output

WHITENING_IMAGES = 2000
"""Training images that the whitening is fitted to: more hardly change it."""
_BATCH = 32
_MAPS = Output("maps", "feature maps", "as the extractor computes them")
_FEATURES = Output(FEATURES, "standardised feature maps", "standard deviations of the training images")

Images = npt.NDArray[np.uint8]


class _Stage(Graph):
    """One module as a graph of one input and one output."""

    def __init__(self, module: nn.Module, given: Output, made: Output) -> None:
        super().__init__()
        self.module, self.inputs, self.outputs = module, (given,), (made,)

    def compute(self, batch: Batch) -> dict[str, Tensor]:
        """See the class."""
        return {self.outputs[0].name: self.module(batch[self.inputs[0].name])}


def filter_bank_graph(shape: tuple[int, int, int]) -> bytes:
    """The built-in filter bank for images of this shape (C, H, W), as a graph: image → maps."""
    example = {IMAGE: np.zeros((2, *shape), np.uint8)}
    return to_onnx(_Stage(FilterBank(shape), IMAGES, _MAPS), "filter-bank", example)


def whitened(raw: bytes, images: Images) -> bytes:
    """An extractor: the graph `raw` (image → maps), then the whitening of its maps over `images` [n,C,H,W]."""
    session = Session(raw, provider="cpu")
    maps = session.run_batched({IMAGE: images[:WHITENING_IMAGES]}, _BATCH)[_MAPS.name]
    with torch.inference_mode():
        whitening = _Stage(fit_whitening(maps), _MAPS, _FEATURES)
    return chain(raw, to_onnx(whitening, "whitening", {_MAPS.name: maps[:2]}), "extractor")


def resolve(config: FeatureModelConfig) -> FeatureModelConfig:
    """The configuration with the shape of the feature maps, unless it has one.

    Raises:
        UserError: the backbone cannot be used.
    """
    maps = FilterBank(config.image_shape).maps
    return replace(config, maps=maps)


def make_extractor(config: FeatureModelConfig, images: Images) -> bytes:
    """The extractor of a run on `images` [n,C,H,W], some of its training images."""
    return whitened(filter_bank_graph(config.image_shape), images)
