"""weights.bin: the weights of a bundle's graphs, stored once each and referenced as ONNX external data.

Graphs are untrusted, and a runtime opens whatever file their references name. So every reference is checked before a
session opens: it must belong to an initialiser of the graph itself, point inside weights.bin, and have the length of
the initialiser's shape. The session then gets views of the bytes that the bundle verified, shared by all sessions of a
process, and opens no file.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from export.bundle.inspection import MOST_DIMENSIONS, TYPES, Declared, Tensor, inspect_graph
from vae_core.errors import UserError

WEIGHTS = "weights.bin"
ALIGNMENT = 4096
"""Alignment of offsets: pages, so that a runtime can map the file into memory."""


class OnnxGraph(NamedTuple):
    """An ONNX graph with checked references."""

    content: bytes  # of its file
    weights: Mapping[str, npt.NDArray[Any]]  # by initialiser, those in weights.bin
    inputs: Sequence[Declared]
    outputs: Sequence[Declared]


def open_graph(content: bytes, weights: bytes, where: str) -> OnnxGraph:
    """An ONNX graph with its weights.

    Args:
        content: of the graph's file.
        weights: the content of weights.bin; empty if the graph must hold its weights itself.
        where: the graph's path or URL, named in errors.

    Raises:
        UserError: this is not an ONNX graph, it has what no graph of a bundle has (see `inspect_graph`), or it refers
            to anything but its own part of `weights`.
    """
    views: dict[str, npt.NDArray[Any]] = {}
    try:
        parts = inspect_graph(memoryview(content))
        seen: set[str] = set()
        for tensor in parts.initialisers:
            if tensor.name in seen:
                raise ValueError(f"two initialisers {tensor.name!r:.100}")
            seen.add(tensor.name)
            if tensor.is_external:
                views[tensor.name] = _view(tensor, weights)
    except ValueError as error:
        raise UserError(
            f"{where} must be an ONNX graph of standard operators with weights in itself or in {WEIGHTS}, got {error}; "
            "get the bundle again from its source"
        ) from error
    return OnnxGraph(content, views, parts.inputs, parts.outputs)


def _view(tensor: Tensor, weights: bytes) -> npt.NDArray[Any]:
    """A tensor's part of the weights, as an array."""
    name, reference = f"{tensor.name!r:.100}", tensor.reference
    if tensor.location != 1 or reference.keys() != {"location", "offset", "length"}:
        raise ValueError(f"{name} with a reference to {', '.join(reference)!r:.100}")
    if reference["location"] != WEIGHTS or not weights:
        raise ValueError(f"{name} in the file {reference['location']!r:.100}")
    offset, length = (_size(reference[key]) for key in ("offset", "length"))
    if tensor.type not in TYPES or not 0 < len(tensor.shape) <= MOST_DIMENSIONS:
        raise ValueError(f"{name} of type {tensor.type!r:.20} with {len(tensor.shape)} dimensions")
    dtype, count = np.dtype(TYPES[tensor.type]), math.prod(tensor.shape)
    if length != count * dtype.itemsize or not length or offset % ALIGNMENT or offset + length > len(weights):
        raise ValueError(f"{name} of shape {tensor.shape} in {length} bytes from {offset} of {len(weights)}")
    return np.frombuffer(weights, dtype, count, offset).reshape(tensor.shape)


def _size(digits: str) -> int:
    if not (digits.isascii() and digits.isdigit() and len(digits) < 20):
        raise ValueError(f"{digits!r:.100} as an offset or length")
    return int(digits)
