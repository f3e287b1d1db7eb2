"""The weights of several graphs in one file, each once: see `export.bundle.weights` for how they are read."""

from collections.abc import Mapping

import onnx
from onnx import TensorProto, numpy_helper

from export.bundle.weights import ALIGNMENT, WEIGHTS, OnnxGraph

_LEAST_BYTES = 1024
"""Smaller initialisers stay in their graph; among them are shapes and axes, which runtimes need early."""


def share_weights(graphs: Mapping[str, bytes]) -> dict[str, bytes]:
    """The graphs with their larger initialisers in weights.bin, and that file.

    Initialisers with the same bytes are stored once, whatever their names: encoder and decoder are in several graphs.
    """
    weights = bytearray()
    offsets: dict[bytes, int] = {}
    files: dict[str, bytes] = {}
    for name, content in graphs.items():
        model = onnx.load_model_from_string(content)
        for tensor in model.graph.initializer:
            data = numpy_helper.to_array(tensor).tobytes()
            if len(data) < _LEAST_BYTES:
                continue
            if data not in offsets:
                weights += bytes(-len(weights) % ALIGNMENT)
                offsets[data] = len(weights)
                weights += data
            _refer(tensor, offsets[data], len(data))
        files[name] = model.SerializeToString()
    return {**files, WEIGHTS: bytes(weights)}


def embed_weights(graph: OnnxGraph) -> bytes:
    """The ONNX file of a graph that holds all of its weights itself."""
    model = onnx.load_model_from_string(graph.content)
    for tensor in model.graph.initializer:
        if tensor.name in graph.weights:
            tensor.CopyFrom(numpy_helper.from_array(graph.weights[tensor.name], tensor.name))
    content: bytes = model.SerializeToString()
    return content


def _refer(tensor: TensorProto, offset: int, length: int) -> None:
    """Replace an initialiser's values by a reference to weights.bin."""
    emptied = TensorProto(name=tensor.name, data_type=tensor.data_type, dims=tensor.dims)
    emptied.data_location = TensorProto.EXTERNAL
    for key, value in (("location", WEIGHTS), ("offset", str(offset)), ("length", str(length))):
        emptied.external_data.add(key=key, value=value)
    tensor.CopyFrom(emptied)
