"""Graphs that see the region of interest alone: the pixels outside are set to the region's levels first."""

import numpy as np
from onnx import helper

from export.graphs.image_input import preceded
from export.region import Region
from vae_core.batch import IMAGE

_INSIDE, _FILL, _SEEN = "region/inside", "region/fill", "region/image"


def within(content: bytes, region: Region) -> bytes:
    """The graph `content`, whose input `image` is uint8 [N,C,H,W], with the region applied to the image first."""
    constants = {
        _INSIDE: region.inside[None, None],
        _FILL: np.array(region.fill, np.uint8)[None, :, None, None],
    }
    return preceded(
        content, [helper.make_node("Where", [_INSIDE, IMAGE, _FILL], [_SEEN], name=_SEEN)], constants, _SEEN
    )
