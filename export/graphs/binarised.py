"""Graphs of binarised images: the image is made black and white at constant thresholds first."""

from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import TensorProto, helper

from export.graphs.image_input import preceded
from vae_core.batch import IMAGE

_PREFIX = "binarised/"
_LEVEL, _AT, _REACHED, _ON, _OFF, _SEEN = (
    _PREFIX + name for name in ("level", "thresholds", "reached", "on", "off", "image")
)


def binarised_at(content: bytes, thresholds: npt.NDArray[np.uint8]) -> bytes:
    """The graph `content`, whose input `image` is uint8 [N,C,H,W], of the image binarised at thresholds [C,H,W] first.

    See `vae_core.binarisation`. The levels are compared as floats, which every runtime can do.
    """
    constants: dict[str, npt.NDArray[Any]] = {
        _AT: thresholds[None].astype(np.float32),
        _ON: np.array(255, np.uint8),
        _OFF: np.array(0, np.uint8),
    }
    nodes = [
        helper.make_node("Cast", [IMAGE], [_LEVEL], name=_LEVEL, to=TensorProto.FLOAT),
        helper.make_node("GreaterOrEqual", [_LEVEL, _AT], [_REACHED], name=_REACHED),
        helper.make_node("Where", [_REACHED, _ON, _OFF], [_SEEN], name=_SEEN),
    ]
    return preceded(content, nodes, constants, _SEEN)
