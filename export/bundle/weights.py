"""weights.bin: the weights of a bundle's graphs, stored once each and referenced as ONNX external data.

Graphs are untrusted, and a runtime opens whatever file their references name. So every reference is checked before a
session opens: it must belong to an initialiser of the graph itself, point inside weights.bin, and have the length of
the initialiser's shape. The session then gets views of the bytes that the bundle verified, shared by all sessions of a
process, and opens no file.
"""

import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from export.bundle.protobuf import Value, as_bytes, fields, integers, text
from vae_core.errors import UserError

WEIGHTS = "weights.bin"
ALIGNMENT = 4096
"""Alignment of offsets: pages, so that a runtime can map the file into memory."""

# onnx.proto by kind of message: the numbers of its fields, and the kind of message in those that lead to tensors.
# Fields that no graph of a bundle has are left out, and so rejected: functions, sparse tensors, training information.
_PLAIN = ""
_KINDS: dict[str, dict[int, str]] = {
    "model": dict.fromkeys((1, 2, 3, 4, 5, 6, 8, 14), _PLAIN) | {7: "graph"},
    "graph": dict.fromkeys((2, 10, 11, 12, 13, 14, 16), _PLAIN) | {1: "node", 5: "initialiser"},
    "inner graph": dict.fromkeys((2, 10, 11, 12, 13, 14, 16), _PLAIN) | {1: "node", 5: "constant"},
    "node": dict.fromkeys((1, 2, 3, 4, 6, 7, 8, 9), _PLAIN) | {5: "attribute"},
    "attribute": dict.fromkeys((1, 2, 3, 4, 7, 8, 9, 13, 14, 15, 20, 21), _PLAIN)
    | {5: "constant", 10: "constant", 6: "inner graph", 11: "inner graph"},
}
_DIMENSIONS, _TYPE, _NAME, _REFERENCE, _LOCATION = 1, 2, 8, 13, 14  # fields of a tensor
_TENSOR = frozenset((*range(1, 15), 16))
_TYPES: dict[Value, str] = {
    1: "<f4",
    2: "u1",
    3: "i1",
    4: "<u2",
    5: "<i2",
    6: "<i4",
    7: "<i8",
    9: "?",
    10: "<f2",
    11: "<f8",
    12: "<u4",
    13: "<u8",
}
_MOST_DIMENSIONS = 8


class OnnxGraph(NamedTuple):
    """An ONNX graph with checked references."""

    content: bytes  # of its file
    weights: Mapping[str, npt.NDArray[Any]]  # by initialiser, those in weights.bin


def open_graph(content: bytes, weights: bytes, where: str) -> OnnxGraph:
    """An ONNX graph with its weights.

    Args:
        content: of the graph's file.
        weights: the content of weights.bin; empty if the graph must hold its weights itself.
        where: the graph's path or URL, named in errors.

    Raises:
        UserError: this is not an ONNX graph, or it refers to anything but its own part of `weights`.
    """
    seen: set[str] = set()
    views: dict[str, npt.NDArray[Any]] = {}
    try:
        for message in _initialisers(memoryview(content)):
            tensor = _tensor(message)
            if tensor.name in seen:
                raise ValueError(f"two initialisers {tensor.name!r:.100}")
            seen.add(tensor.name)
            if tensor.is_external:
                views[tensor.name] = _view(tensor, weights)
    except ValueError as error:
        raise UserError(
            f"{where} must be an ONNX graph with weights in itself or in {WEIGHTS}, got {error}; get the bundle again "
            "from its source"
        ) from error
    return OnnxGraph(content, views)


class _Tensor(NamedTuple):
    name: str
    type: Value
    shape: list[int]
    location: Value  # 0 for inside the graph, 1 for outside
    reference: dict[str, str]  # file ("location"), offset and length

    @property
    def is_external(self) -> bool:
        return self.location != 0 or bool(self.reference)


def _initialisers(model: memoryview) -> Iterator[memoryview]:
    """The initialisers of the graph itself; external tensors elsewhere are rejected."""
    waiting = [("model", model)]
    while waiting:
        kind, message = waiting.pop()
        kinds = _KINDS[kind]
        for number, value in fields(message):
            inner = kinds.get(number)
            if inner is None:
                raise ValueError(f"field {number} of a {kind}")
            if inner == "initialiser":
                yield as_bytes(value)
            elif inner == "constant":
                if (tensor := _tensor(as_bytes(value))).is_external:
                    raise ValueError(f"{tensor.name!r:.100} outside the graph, which is no initialiser of it")
            elif inner != _PLAIN:
                waiting.append((inner, as_bytes(value)))


def _tensor(message: memoryview) -> _Tensor:
    shape: list[int] = []
    reference: dict[str, str] = {}
    # If a field is repeated, the last one counts.
    single: dict[int, Value] = {_TYPE: 0, _NAME: memoryview(b""), _LOCATION: 0}
    for number, value in fields(message):
        if number not in _TENSOR:
            raise ValueError(f"field {number} of a tensor")
        if number == _DIMENSIONS:
            shape += integers(value)
        elif number == _REFERENCE:
            entry = dict(fields(as_bytes(value)))
            if entry.keys() != {1, 2} or (key := text(entry[1])) in reference:
                raise ValueError("an ambiguous reference")
            reference[key] = text(entry[2])
        elif number in single:
            single[number] = value
    return _Tensor(text(single[_NAME]), single[_TYPE], shape, single[_LOCATION], reference)


def _view(tensor: _Tensor, weights: bytes) -> npt.NDArray[Any]:
    """A tensor's part of the weights, as an array."""
    name, reference = f"{tensor.name!r:.100}", tensor.reference
    if tensor.location != 1 or reference.keys() != {"location", "offset", "length"}:
        raise ValueError(f"{name} with a reference to {', '.join(reference)!r:.100}")
    if reference["location"] != WEIGHTS or not weights:
        raise ValueError(f"{name} in the file {reference['location']!r:.100}")
    offset, length = (_size(reference[key]) for key in ("offset", "length"))
    if tensor.type not in _TYPES or not 0 < len(tensor.shape) <= _MOST_DIMENSIONS:
        raise ValueError(f"{name} of type {tensor.type!r:.20} with {len(tensor.shape)} dimensions")
    dtype, count = np.dtype(_TYPES[tensor.type]), math.prod(tensor.shape)
    if length != count * dtype.itemsize or not length or offset % ALIGNMENT or offset + length > len(weights):
        raise ValueError(f"{name} of shape {tensor.shape} in {length} bytes from {offset} of {len(weights)}")
    return np.frombuffer(weights, dtype, count, offset).reshape(tensor.shape)


def _size(digits: str) -> int:
    if not (digits.isascii() and digits.isdigit() and len(digits) < 20):
        raise ValueError(f"{digits!r:.100} as an offset or length")
    return int(digits)
