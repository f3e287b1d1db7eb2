"""Graphs of images from the graphs of a model.

A graph of features is preceded by the extractor that computes them, and all by the region of interest, if there is one,
and by binarisation, if the model is one of binarised images.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from export.graphs.binarised import binarised_at
from export.graphs.chain import chain
from export.graphs.convert import to_onnx
from export.graphs.modules import Graph
from export.graphs.region import within
from export.region import Region
from export.runtime.session import Session
from vae_core.batch import FEATURES, IMAGE, Arrays
from vae_core.binarisation import binarised

_BATCH = 32


class FromImages:
    """Converts graphs of a model, and computes the inputs of the model from images."""

    def __init__(
        self, extractor: bytes | None, region: Region | None = None, thresholds: npt.NDArray[np.uint8] | None = None
    ) -> None:
        """Take what the model's run has.

        Args:
            extractor: the graph image → features; None for a model of pixels.
            region: the pixels that count, if not all do.
            thresholds: [C,H,W], at which images are binarised; None for a model of images as they are.
        """
        self._extractor, self._region, self._thresholds = extractor, region, thresholds
        self._session = Session(extractor, provider="cpu") if extractor is not None else None

    def inputs(self, images: npt.NDArray[np.uint8]) -> dict[str, npt.NDArray[Any]]:
        """The inputs of the model for images [N,C,H,W]."""
        if self._region is not None:
            images = self._region.apply(images)
        if self._thresholds is not None:
            images = binarised(images, self._thresholds)
        if self._session is None:
            return {IMAGE: images}
        return self._session.run_batched({IMAGE: images}, _BATCH)

    def tensors(self, images: npt.NDArray[np.uint8]) -> dict[str, Tensor]:
        """`inputs` as tensors."""
        return {name: torch.from_numpy(values) for name, values in self.inputs(images).items()}

    def to_onnx(self, graph: Graph, name: str, example: Arrays) -> bytes:
        """The ONNX model of `graph`, from the image on; arguments as for `convert.to_onnx`."""
        content = to_onnx(graph, name, example)
        inputs = [value.name for value in graph.inputs]
        if self._extractor is not None and FEATURES in inputs:
            content = chain(self._extractor, content, name)
        elif IMAGE not in inputs:
            return content
        if self._thresholds is not None:
            content = binarised_at(content, self._thresholds)
        return content if self._region is None else within(content, self._region)
