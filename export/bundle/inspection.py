"""Inspection of an ONNX graph before a runtime sees it, without importing onnx, which takes 0.1 s.

A graph of somebody else may ask a runtime for anything: code of a library that is registered there, a loop without
end, an array of a terabyte in a file of a kilobyte. What no graph of a bundle has is refused: operators outside the
ONNX standard, loops, functions, deep nesting, tensors that are not as large as their shape says.
"""

import math
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from export.bundle.protobuf import Value, as_bytes, fields, integers, text

# onnx.proto by kind of message: the numbers of its fields, and what is done with those that are looked into.
# Fields that no graph of a bundle has are left out, and so rejected: functions, sparse tensors, training information.
_PLAIN = ""
_GRAPH = dict.fromkeys((2, 10, 13, 14, 16), _PLAIN) | {1: "node"}
_KINDS: dict[str, dict[int, str]] = {
    "model": dict.fromkeys((1, 2, 3, 4, 5, 6, 14), _PLAIN) | {7: "graph", 8: "operator set"},
    "graph": _GRAPH | {5: "initialiser", 11: "input", 12: "output"},
    "inner graph": _GRAPH | {5: "constant", 11: _PLAIN, 12: _PLAIN},
    "node": dict.fromkeys((1, 2, 3, 6, 8, 9), _PLAIN) | {4: "operator", 5: "attribute", 7: "domain"},
    "attribute": dict.fromkeys((1, 2, 3, 4, 7, 8, 9, 13, 14, 15, 20, 21), _PLAIN)
    | {5: "constant", 10: "constant", 6: "inner graph", 11: "inner graph"},
}
_STANDARD = frozenset((b"", b"ai.onnx"))  # names of the domain of standard operators
_LOOPS = frozenset((b"Loop", b"Scan", b"SequenceMap"))
_MOST_NESTING = 8  # of graphs in nodes

# Of a tensor: the fields, and how many bytes an element takes in those that hold numbers; 0: of any length.
_DIMENSIONS, _TYPE, _NAME, _RAW, _REFERENCE, _LOCATION = 1, 2, 8, 9, 13, 14
_TENSOR = frozenset((*range(1, 15), 16))
_NUMBERS = {4: 4, 5: 0, 7: 0, 10: 8, 11: 0}
_STRINGS = 6
TYPES: dict[Value, npt.DTypeLike] = {
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
"""Element types of tensors, by their number."""
MOST_DIMENSIONS = 8


class Tensor(NamedTuple):
    """A constant of a graph."""

    name: str
    type: Value
    shape: list[int]
    location: Value  # 0 for inside the graph, 1 for outside
    reference: dict[str, str]  # file ("location"), offset and length

    @property
    def is_external(self) -> bool:
        """Whether its elements are, or may be, outside the graph."""
        return self.location != 0 or bool(self.reference)


class Declared(NamedTuple):
    """An input or output, as the graph declares it."""

    name: str
    type: str  # as numpy calls it
    shape: tuple[int | None, ...]  # None for any size


class Parts(NamedTuple):
    """What a graph is made of."""

    initialisers: list[Tensor]
    inputs: list[Declared]
    outputs: list[Declared]


def inspect_graph(model: memoryview) -> Parts:
    """The parts of an ONNX model.

    Raises:
        ValueError: it is no ONNX model, or has what no graph of a bundle has.
    """
    parts = Parts([], [], [])
    waiting = [("model", model, 0)]
    while waiting:
        kind, message, depth = waiting.pop()
        kinds = _KINDS[kind]
        for number, value in fields(message):
            inner = kinds.get(number)
            if inner == _PLAIN:
                continue
            if inner is None:
                raise ValueError(f"field {number} of a {kind}")
            content = as_bytes(value)
            if inner == "operator":
                if bytes(content) in _LOOPS:
                    raise ValueError(f"the operator {text(content)}, which may not end")
            elif inner in _KINDS:
                deeper = depth + (inner == "inner graph")
                if deeper > _MOST_NESTING:
                    raise ValueError(f"graphs in graphs, more than {_MOST_NESTING} deep")
                waiting.append((inner, content, deeper))
            elif inner == "domain":
                _require_standard(content)
            elif inner == "operator set":
                _require_standard(as_bytes(dict(fields(content)).get(1, memoryview(b""))))
            elif inner == "constant":
                if (tensor := _tensor(content)).is_external:
                    raise ValueError(f"{tensor.name!r:.100} outside the graph, which is no initialiser of it")
            elif inner == "initialiser":
                parts.initialisers.append(_tensor(content))
            else:
                (parts.inputs if inner == "input" else parts.outputs).append(_declared(content))
    return parts


def _require_standard(domain: memoryview) -> None:
    if bytes(domain) not in _STANDARD:
        raise ValueError(f"operators of the domain {text(domain)!r:.100}")


def _tensor(message: memoryview) -> Tensor:
    shape: list[int] = []
    reference: dict[str, str] = {}
    # If a field is repeated, the last one counts.
    single: dict[int, Value] = {_TYPE: 0, _NAME: memoryview(b""), _LOCATION: 0, _RAW: None}
    listed = 0  # elements outside the raw bytes
    for number, value in fields(message):
        if number not in _TENSOR or number == _STRINGS:
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
        elif number in _NUMBERS:
            listed += _elements(value, _NUMBERS[number])
    tensor = Tensor(text(single[_NAME]), single[_TYPE], shape, single[_LOCATION], reference)
    if not tensor.is_external:
        _require_size(tensor, None if single[_RAW] is None else len(as_bytes(single[_RAW])), listed)
    return tensor


def _elements(value: Value, size: int) -> int:
    """How many numbers one field of a repeated one holds."""
    if not isinstance(value, memoryview):
        return 1
    # A number of any length ends with a byte below 128.
    return len(value) // size if size else int(np.count_nonzero(np.frombuffer(value, np.uint8) < 128))


def _require_size(tensor: Tensor, raw: int | None, listed: int) -> None:
    """Raise a ValueError unless a tensor holds as many elements as its shape says."""
    if tensor.type not in TYPES or len(tensor.shape) > MOST_DIMENSIONS:
        raise ValueError(f"{tensor.name!r:.100} of type {tensor.type!r:.20} with {len(tensor.shape)} dimensions")
    count = math.prod(tensor.shape)
    expected = (None, count) if raw is None else (count * np.dtype(TYPES[tensor.type]).itemsize, 0)
    if (raw, listed) != expected:
        held = f"{listed} elements" if raw is None else f"{raw} bytes"
        raise ValueError(f"{tensor.name!r:.100} of shape {tensor.shape} in {held}")


def _declared(message: memoryview) -> Declared:
    """A ValueInfoProto of a tensor."""
    name, kind = (dict(fields(message)).get(number) for number in (1, 2))
    tensor = _only(kind, 1)
    element, dimensions = (dict(fields(tensor)).get(number) for number in (1, 2))
    if element not in TYPES or dimensions is None:
        raise ValueError(f"an input or output {text(name)!r:.100} of type {element!r:.20}, or of no shape")
    shape: list[int | None] = []
    for number, value in fields(as_bytes(dimensions)):
        if number != 1:
            raise ValueError(f"field {number} of a shape")
        size: Any = dict(fields(as_bytes(value))).get(1)
        shape.append(size)
    return Declared(text(name), np.dtype(TYPES[element]).name, tuple(shape))


def _only(message: Value, number: int) -> memoryview:
    """The field that a message must have."""
    found = dict(fields(as_bytes(message))).get(number)
    return as_bytes(found)
