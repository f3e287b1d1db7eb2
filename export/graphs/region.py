"""Graphs that see the region of interest alone: the pixels outside are set to the region's levels first."""

import numpy as np
import onnx
from onnx import helper, numpy_helper

from export.region import Region
from vae_core.batch import IMAGE

_INSIDE, _FILL, _SEEN = "region/inside", "region/fill", "region/image"


def within(content: bytes, region: Region) -> bytes:
    """The graph `content`, whose input `image` is uint8 [N,C,H,W], with the region applied to the image first."""
    model = onnx.load_model_from_string(content)
    graph = model.graph
    for node in graph.node:
        for place, name in enumerate(node.input):
            if name == IMAGE:
                node.input[place] = _SEEN
    constants = {
        _INSIDE: region.inside[None, None],
        _FILL: np.array(region.fill, np.uint8)[None, :, None, None],
    }
    graph.initializer.extend(numpy_helper.from_array(values, name) for name, values in constants.items())
    graph.node.insert(0, helper.make_node("Where", [_INSIDE, IMAGE, _FILL], [_SEEN], name=_SEEN))
    onnx.checker.check_model(model)
    result: bytes = model.SerializeToString()
    return result
