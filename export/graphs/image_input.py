"""Graphs with something between their input `image` and what reads it."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy.typing as npt
import onnx
from onnx import numpy_helper

from vae_core.batch import IMAGE


def preceded(
    content: bytes, nodes: Sequence[onnx.NodeProto], constants: Mapping[str, npt.NDArray[Any]], seen: str
) -> bytes:
    """The graph `content`, whose input `image` is uint8 [N,C,H,W], with other nodes before all that read the image.

    Args:
        content: an ONNX graph that holds its weights.
        nodes: in order; they read `image` and the constants.
        constants: by name.
        seen: the name of what the graph reads in the place of `image`, made by the last node.
    """
    model = onnx.load_model_from_string(content)
    graph = model.graph
    for node in graph.node:
        for place, name in enumerate(node.input):
            if name == IMAGE:
                node.input[place] = seen
    graph.initializer.extend(numpy_helper.from_array(values, name) for name, values in constants.items())
    for place, node in enumerate(nodes):
        graph.node.insert(place, node)
    onnx.checker.check_model(model)
    result: bytes = model.SerializeToString()
    return result
