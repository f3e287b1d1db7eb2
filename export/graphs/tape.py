"""`Tape`: the state of one differentiation of an ONNX graph, with which adjoints are written as new nodes."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

_PREFIX = "reverse."  # of new values, which no exporter uses


class Tape:
    """What is known of a graph, the adjoints of its values so far, and the new nodes."""

    def __init__(self, model: onnx.ModelProto) -> None:
        """Take a graph whose shapes were inferred."""
        values = (*model.graph.input, *model.graph.value_info, *model.graph.output)
        self._shapes = {
            value.name: [d.dim_value or None for d in value.type.tensor_type.shape.dim] for value in values
        } | {each.name: list(each.dims) for each in model.graph.initializer}
        self._initialisers = {each.name: each for each in model.graph.initializer}
        self._parts: dict[str, list[str]] = {}
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def add(self, name: str, adjoint: str) -> None:
        """Add what one use of a value contributes to its adjoint."""
        self._parts.setdefault(name, []).append(adjoint)

    def has(self, name: str) -> bool:
        """Whether anything was added to a value's adjoint."""
        return name in self._parts

    def adjoint(self, name: str) -> str:
        """The adjoint of a value: Σ of what its uses contribute, or zeros."""
        parts = self._parts.get(name, [])
        if not parts:
            return self.emit("Mul", [name, self.constant(0.0, np.float32)])
        while len(parts) > 1:
            parts = [self.emit("Add", parts[:2]), *parts[2:]]
        self._parts[name] = parts
        return parts[0]

    def emit(self, operator: str, inputs: Sequence[str], **attributes: Any) -> str:
        """Add a node and return the name of its output."""
        name = f"{_PREFIX}{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, inputs, [name], **attributes))
        return name

    def constant(self, values: Any, kind: type[np.generic] = np.int64) -> str:
        """Add a constant and return its name."""
        name = f"{_PREFIX}constant.{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(values, kind), name))
        return name

    def given(self, node: onnx.NodeProto, output: int = 0) -> str:
        """The adjoint of a node's output."""
        return self.adjoint(node.output[output])

    def shape(self, name: str) -> list[int | None]:
        """The shape of a value; None is the batch."""
        shape: list[int | None] = self._shapes[name]
        return shape

    def values(self, name: str) -> npt.NDArray[Any]:
        """The numbers of a constant, [n]."""
        values: npt.NDArray[Any] = numpy_helper.to_array(self._initialisers[name]).reshape(-1)
        return values

    def integers(self, name: str) -> list[int]:
        """The numbers of a constant that holds integers."""
        return [int(each) for each in self.values(name)]

    def zero_where_not(self, condition: str, adjoint: str) -> str:
        """The adjoint where the condition holds, else 0."""
        return self.emit("Where", [condition, adjoint, self.constant(0.0, np.float32)])

    def summed_to(self, name: str, adjoint: str, output: str) -> str:
        """Sum an adjoint of the shape of `output` over the axes along which `name` was repeated."""
        small, large = self.shape(name), self.shape(output)
        extra = len(large) - len(small)
        axes = list(range(extra)) + [
            extra + axis for axis, (a, b) in enumerate(zip(small, large[extra:], strict=True)) if a == 1 and b != 1
        ]
        if not axes:
            return adjoint
        total = self.emit("ReduceSum", [adjoint, self.constant(axes)], keepdims=1)
        return self.reshaped_as(name, total)

    def reshaped_as(self, name: str, adjoint: str) -> str:
        """An adjoint in the shape of `name`, of which only the batch may be dynamic."""
        return self.emit("Reshape", [adjoint, self.constant([size or -1 for size in self.shape(name)])])
