"""Make the extractor of a run: image → standardised feature maps, one ONNX graph.

The filter bank or the backbone first computes raw feature maps; their whitening over training images follows. Both are
fixed from then on: a model is trained on the maps, and the graphs of its bundle begin with the extractor.
"""

import hashlib
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from export.extractors.backbone import MAPS, backbone_graph, free_size
from export.extractors.vision_models import PREFIX, vision_backbone
from export.graphs.chain import chain
from export.graphs.convert import to_onnx
from export.graphs.modules import Graph
from export.runtime.session import Session
from export.storage import Folder
from vae_core.batch import APPEARANCE, FEATURES, IMAGE, Batch
from vae_core.config import FILTER_BANK, FeatureModelConfig
from vae_core.errors import UserError
from vae_core.features.filter_bank import FilterBank
from vae_core.features.palette import palette
from vae_core.features.whitening import Whitening, fit_whitening
from vae_core.models.features.model import FEATURE_MAPS, LOOKS
from vae_core.models.pixels import IMAGES
from vae_core.outputs import Output

WHITENING_IMAGES = 2000
"""Training images that the whitening is fitted to: more hardly change it."""
_BATCH = 32

Images = npt.NDArray[np.uint8]


class Extractor(NamedTuple):
    """What computes the features of a model, before its whitening."""

    config: FeatureModelConfig
    """The model's configuration, with the shape of the maps and the backbone by name and hash."""
    graph: bytes
    """ONNX: image uint8 [N,C,H,W] → maps float32 [N,F,h,w]."""

    def whitened(self, images: Images) -> bytes:
        """The graph image → features: the maps, standardised and whitened over `images` [n,C,H,W] of training."""
        session = Session(self.graph, provider="cpu")
        maps = session.run_batched({IMAGE: images[:WHITENING_IMAGES]}, _BATCH)[MAPS.name]
        with torch.inference_mode():
            whitening = _Standardised(fit_whitening(maps))
        example = {IMAGE: images[:2], MAPS.name: maps[:2]}
        return chain(self.graph, to_onnx(whitening, "whitening", example), "extractor")


def open_extractor(config: FeatureModelConfig) -> Extractor:
    """The extractor that a configuration names.

    Args:
        config: of a model, with the shape of the images.

    Raises:
        UserError: the backbone cannot be used.
    """
    graph, name = _graph(config.backbone, config.image_shape)
    maps = Session(graph, provider="cpu").run({IMAGE: np.zeros((1, *config.image_shape), np.uint8)})[MAPS.name]
    return Extractor(replace(config, backbone=name, maps=maps.shape[1:]), graph)


def _graph(backbone: str, shape: tuple[int, int, int]) -> tuple[bytes, str]:
    """The graph image → maps of a backbone, and what a run calls it: an external one with its hash."""
    if backbone == FILTER_BANK:
        example = {IMAGE: np.zeros((2, *shape), np.uint8)}
        return to_onnx(_Stage(FilterBank(shape), IMAGES, MAPS), backbone, example), backbone
    if backbone.startswith(PREFIX):
        content, name = vision_backbone(backbone, free_size(*shape[1:])), ":".join(backbone.split(":")[:2])
    else:
        folder, _, name = backbone.rpartition("/")
        try:
            content = Folder.at(folder or ".").read(name)
        except OSError as error:
            known = f"{FILTER_BANK}, an ONNX file or {PREFIX}NAME"
            raise UserError(f"--backbone must be {known}, got {backbone}, which cannot be read") from error
    digest = hashlib.sha256(content).hexdigest()
    return backbone_graph(content, shape, name), f"{name} (SHA-256 {digest[:16]})"


class _Standardised(Graph):
    """Maps → features, which a model is trained on, and appearance, for its outlier score."""

    inputs, outputs = (IMAGES, MAPS), (FEATURE_MAPS, LOOKS)

    def __init__(self, whitening: Whitening) -> None:
        super().__init__()
        self.whitening = whitening

    def compute(self, batch: Batch) -> dict[str, Tensor]:
        """See the class."""
        maps = batch[MAPS.name]
        appearance = torch.cat([self.whitening.appearance(maps), palette(batch[IMAGE])], 1)
        return {FEATURES: self.whitening(maps), APPEARANCE: appearance}


class _Stage(Graph):
    """One module as a graph of one input and one output."""

    def __init__(self, module: nn.Module, given: Output, made: Output) -> None:
        super().__init__()
        self.module, self.inputs, self.outputs = module, (given,), (made,)

    def compute(self, batch: Batch) -> dict[str, Tensor]:
        """See the class."""
        return {self.outputs[0].name: self.module(batch[self.inputs[0].name])}
