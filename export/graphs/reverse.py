"""The gradient of an ONNX graph, as two ONNX graphs: reverse-mode differentiation without torch.

For outputs y_1, y_2, … of an input z:

    forward     inputs → y_1, y_2, …, and the inner values that the second graph needs, called residuals
    backward    residuals, a cotangent v_i of each output → gradient = Σ_i (∂y_i/∂z)ᵀ v_i, of the shape of z

The backward graph has one adjoint for each node of the forward graph, in reverse order (Griewank and Walther 2008,
chapter 3). It costs about as much as the graph itself, whatever the number of inputs. Both share the graph's weights
and are derived when a job needs them, so every bundle has gradients.

Only the operators of decoders have an adjoint here; it is not for training.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from export.bundle.format import Bundle
from export.bundle.weights import OnnxGraph
from export.runtime.decoding import GRADIENT, Linearised, cotangent, parameters_graph
from vae_core.errors import UserError
from vae_core.likelihoods import likelihood

_PREFIX = "reverse."  # of new values, which no exporter uses


def linearise(graph: OnnxGraph, outputs: Sequence[str], wrt: str = "z") -> Linearised:
    """The forward and the backward graph.

    Args:
        graph: a graph of a bundle; besides `wrt` it may have other inputs, which count as constants.
        outputs: the float outputs to differentiate; others are left out.
        wrt: the float input to differentiate with respect to.

    Raises:
        UserError: an operator between input and outputs has no adjoint here.
    """
    model = onnx.shape_inference.infer_shapes(onnx.load_model_from_string(graph.content))
    reverse = _Reverse(model, wrt)
    gradient = reverse.differentiate(outputs)
    backward = [*reverse.nodes, helper.make_node("Identity", [gradient], [GRADIENT])]
    inner = {name for node in reverse.forward for name in node.output} | {each.name for each in model.graph.input}
    read = dict.fromkeys(name for node in backward for name in node.input)
    residuals = tuple(name for name in read if name in inner)

    def made(nodes: Sequence[onnx.NodeProto], inputs: Sequence[Any], results: Sequence[Any], name: str) -> OnnxGraph:
        used = {each for node in nodes for each in node.input}
        initialisers = [each for each in model.graph.initializer if each.name in used]
        initialisers += [each for each in reverse.constants if each.name in used]
        content = helper.make_model(
            helper.make_graph(nodes, name, inputs, results, initialisers),
            opset_imports=model.opset_import,
            ir_version=model.ir_version,
        )
        weights = {each: values for each, values in graph.weights.items() if each in used}
        return OnnxGraph(content.SerializeToString(), weights)

    values = {value.name: value for value in (*model.graph.value_info, *model.graph.input, *model.graph.output)}
    kept = [name for name in residuals if name not in outputs and name not in {i.name for i in model.graph.input}]
    return Linearised(
        forward=made(
            reverse.forward,
            list(model.graph.input),
            [values[name] for name in (*outputs, *kept)],
            f"{model.graph.name}_forward",
        ),
        backward=made(
            backward,
            [values[name] for name in residuals] + [_renamed(values[name], cotangent(name)) for name in outputs],
            [_renamed(values[wrt], GRADIENT)],
            f"{model.graph.name}_backward",
        ),
    )


def linearise_decoder(bundle: Bundle) -> Linearised:
    """A bundle's `parameters_graph` with the derivative of the likelihood's parameters; raises as `linearise` does."""
    parameters = likelihood(bundle.manifest["likelihood"]["name"]).parameters(bundle.shape[0])
    return linearise(parameters_graph(bundle), [parameter.name for parameter in parameters])


def _renamed(value: onnx.ValueInfoProto, name: str) -> onnx.ValueInfoProto:
    renamed = onnx.ValueInfoProto()
    renamed.CopyFrom(value)
    renamed.name = name
    return renamed


class _Reverse:
    """One differentiation: the nodes kept, the adjoints of values so far, and the new nodes."""

    def __init__(self, model: onnx.ModelProto, wrt: str) -> None:
        self._model, self._wrt = model, wrt
        values = (*model.graph.input, *model.graph.value_info, *model.graph.output)
        self._shapes = {
            value.name: [d.dim_value or None for d in value.type.tensor_type.shape.dim] for value in values
        } | {each.name: list(each.dims) for each in model.graph.initializer}
        self._initialisers = {each.name: each for each in model.graph.initializer}
        self._adjoints: dict[str, list[str]] = {}
        self.forward: list[onnx.NodeProto] = []
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def differentiate(self, outputs: Sequence[str]) -> str:
        """The name of the gradient, made of the cotangents of `outputs`."""
        needed = set(outputs)
        for node in reversed(self._model.graph.node):
            if needed.intersection(node.output):
                needed.update(name for name in node.input if name)
                self.forward.insert(0, node)
        moves = {self._wrt}  # values that depend on the input
        for node in self.forward:
            if moves.intersection(node.input):
                moves.update(node.output)
        for name in outputs:
            self._adjoints[name] = [cotangent(name)]
        for node in reversed(self.forward):
            if moves.intersection(node.input) and any(name in self._adjoints for name in node.output):
                self._step(node, [name for name in node.input if name in moves])
        return self._adjoint(self._wrt)

    def _step(self, node: onnx.NodeProto, moving: Sequence[str]) -> None:
        adjoint_of = _ADJOINTS.get(node.op_type)
        if adjoint_of is None:
            raise UserError(
                f"the decoder has the operator {node.op_type}, whose gradient is not implemented; leave out the "
                "estimators refined and annealed"
            )
        attributes = {each.name: helper.get_attribute_value(each) for each in node.attribute}
        for position, name in enumerate(node.input):
            if name in moving:
                made = adjoint_of(self, node, attributes, position)
                self._adjoints.setdefault(name, []).append(made)

    def _adjoint(self, name: str) -> str:
        """Σ of what a value's uses contribute, or zeros if nothing depends on it."""
        parts = self._adjoints.get(name, [])
        if not parts:
            return self.emit("Mul", [name, self.constant(0.0, np.float32)])
        while len(parts) > 1:
            parts = [self.emit("Add", parts[:2]), *parts[2:]]
        self._adjoints[name] = parts
        return parts[0]

    # for the adjoints

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
        return self._adjoint(node.output[output])

    def shape(self, name: str) -> list[int | None]:
        """The shape of a value; None is the batch."""
        shape: list[int | None] = self._shapes[name]
        return shape

    def integers(self, name: str) -> list[int]:
        """The numbers of a constant."""
        return [int(each) for each in numpy_helper.to_array(self._initialisers[name]).reshape(-1)]

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


# Adjoints: (the differentiation, the node, its attributes, which input) → the name of that input's adjoint.
_Adjoint = Callable[[_Reverse, onnx.NodeProto, dict[str, Any], int], str]


def _gemm(r: _Reverse, node: onnx.NodeProto, given: dict[str, Any], position: int) -> str:
    if position != 0 or given.get("transA"):
        raise UserError(
            "the decoder multiplies two values that depend on z; leave out the estimators that differentiate"
        )
    back = 0 if given.get("transB") else 1
    return r.emit("Gemm", [r.given(node), node.input[1]], transB=back, alpha=given.get("alpha", 1.0))


def _matmul(r: _Reverse, node: onnx.NodeProto, given: dict[str, Any], position: int) -> str:
    del given
    factor = node.input[1 - position]
    rank = len(r.shape(factor))
    turned = r.emit("Transpose", [factor], perm=[*range(rank - 2), rank - 1, rank - 2])
    return r.emit("MatMul", [r.given(node), turned] if position == 0 else [turned, r.given(node)])


_WINDOW = ("strides", "pads", "dilations", "group")


def _conv_transpose(r: _Reverse, node: onnx.NodeProto, given: dict[str, Any], position: int) -> str:
    assert position == 0, "weights are constants"
    return r.emit("Conv", [r.given(node), node.input[1]], **{key: given[key] for key in _WINDOW if key in given})


def _conv(r: _Reverse, node: onnx.NodeProto, given: dict[str, Any], position: int) -> str:
    assert position == 0, "weights are constants"
    strides = given.get("strides", [1, 1])
    before, after = r.shape(node.input[0])[2:], r.shape(node.output[0])[2:]
    kernel, rank = r.shape(node.input[1])[2:], len(strides)
    pads, dilations = given.get("pads", [0] * 2 * rank), given.get("dilations", [1] * rank)
    # What the transposed convolution lacks of the input's size, where the stride left pixels out.
    lacking = [
        _known(before[i])
        - ((_known(after[i]) - 1) * strides[i] + (_known(kernel[i]) - 1) * dilations[i] + 1 - pads[i] - pads[i + rank])
        for i in range(rank)
    ]
    window = {key: given[key] for key in _WINDOW if key in given}
    return r.emit("ConvTranspose", [r.given(node), node.input[1]], output_padding=lacking, **window)


def _slice(r: _Reverse, node: onnx.NodeProto, given: dict[str, Any], position: int) -> str:
    del given, position
    shape = r.shape(node.input[0])
    starts, ends = r.integers(node.input[1]), r.integers(node.input[2])
    axes = r.integers(node.input[3]) if len(node.input) > 3 else list(range(len(starts)))
    if len(node.input) > 4 and set(r.integers(node.input[4])) != {1}:
        raise UserError("the decoder has a Slice with steps, whose gradient is not implemented")
    before, after = [0] * len(shape), [0] * len(shape)
    for start, end, axis in zip(starts, ends, axes, strict=True):
        size = shape[axis]
        if size is None:  # the whole batch
            continue
        first, last = (min(max(edge + size if edge < 0 else edge, 0), size) for edge in (start, end))
        before[axis], after[axis] = first, size - last
    return r.emit("Pad", [r.given(node), r.constant([*before, *after])])


def _split(r: _Reverse, node: onnx.NodeProto, given: dict[str, Any], position: int) -> str:
    del position
    return r.emit("Concat", [r.given(node, i) for i in range(len(node.output))], axis=given.get("axis", 0))


def _concat(r: _Reverse, node: onnx.NodeProto, given: dict[str, Any], position: int) -> str:
    axis = given["axis"]
    sizes = [_known(r.shape(name)[axis]) for name in node.input]
    start = sum(sizes[:position])
    edges = [r.constant([start]), r.constant([start + sizes[position]]), r.constant([axis])]
    return r.emit("Slice", [r.given(node), *edges])


def _add(r: _Reverse, node: onnx.NodeProto, given: dict[str, Any], position: int) -> str:
    del given
    adjoint = r.given(node)
    if node.op_type == "Sub" and position == 1:
        adjoint = r.emit("Neg", [adjoint])
    return r.summed_to(node.input[position], adjoint, node.output[0])


def _multiply(r: _Reverse, node: onnx.NodeProto, given: dict[str, Any], position: int) -> str:
    del given
    adjoint, other = r.given(node), node.input[1 - position]
    if node.op_type == "Mul":
        adjoint = r.emit("Mul", [adjoint, other])
    elif position == 0:
        adjoint = r.emit("Div", [adjoint, other])
    else:  # d(a/b)/db = −(a/b)/b
        ratio = r.emit("Div", [node.output[0], node.input[1]])
        adjoint = r.emit("Neg", [r.emit("Mul", [adjoint, ratio])])
    return r.summed_to(node.input[position], adjoint, node.output[0])


def _elementwise(r: _Reverse, node: onnx.NodeProto, given: dict[str, Any], position: int) -> str:
    del given, position
    adjoint, x, y = r.given(node), node.input[0], node.output[0]
    one = r.constant(1.0, np.float32)
    if node.op_type == "Exp":
        slope = y
    elif node.op_type == "Tanh":
        slope = r.emit("Sub", [one, r.emit("Mul", [y, y])])
    elif node.op_type == "Sigmoid":
        slope = r.emit("Mul", [y, r.emit("Sub", [one, y])])
    elif node.op_type == "Softplus":
        slope = r.emit("Sigmoid", [x])
    elif node.op_type == "Abs":
        slope = r.emit("Sign", [x])
    else:
        assert node.op_type == "Log"
        return r.emit("Div", [adjoint, x])
    return r.emit("Mul", [adjoint, slope])


def _kinked(r: _Reverse, node: onnx.NodeProto, given: dict[str, Any], position: int) -> str:
    """Relu and Clip let the adjoint pass where they left the value alone."""
    del given, position
    x, y = node.input[0], node.output[0]
    if node.op_type == "Relu":
        return r.zero_where_not(r.emit("Greater", [y, r.constant(0.0, np.float32)]), r.given(node))
    return r.zero_where_not(r.emit("Equal", [x, y]), r.given(node))


def _negate(r: _Reverse, node: onnx.NodeProto, given: dict[str, Any], position: int) -> str:
    del given, position
    return r.emit("Neg", [r.given(node)])


def _same(r: _Reverse, node: onnx.NodeProto, given: dict[str, Any], position: int) -> str:
    del given, position
    return r.given(node)


def _reshaped(r: _Reverse, node: onnx.NodeProto, given: dict[str, Any], position: int) -> str:
    """Reshape, Flatten, Squeeze and Unsqueeze only rename places."""
    del given, position
    return r.reshaped_as(node.input[0], r.given(node))


def _transpose(r: _Reverse, node: onnx.NodeProto, given: dict[str, Any], position: int) -> str:
    del position
    return r.emit("Transpose", [r.given(node)], perm=[int(i) for i in np.argsort(given["perm"])])


def _reduce(r: _Reverse, node: onnx.NodeProto, given: dict[str, Any], position: int) -> str:
    """ReduceSum, and ReduceMax, whose adjoint goes to the largest."""
    del position
    adjoint, y = r.given(node), node.output[0]
    if not given.get("keepdims", 1):
        axes = node.input[1]
        adjoint, y = r.emit("Unsqueeze", [adjoint, axes]), r.emit("Unsqueeze", [y, axes])
    spread = r.emit("Expand", [adjoint, r.emit("Shape", [node.input[0]])])
    if node.op_type == "ReduceSum":
        return spread
    return r.zero_where_not(r.emit("Equal", [node.input[0], y]), spread)


def _depth_to_space(r: _Reverse, node: onnx.NodeProto, given: dict[str, Any], position: int) -> str:
    """(…, C, h, b, w, b) back to (…, C, b, b, h, w), or blocks before channels in the mode DCR."""
    del position
    _, channels, height, width = map(_known, [1, *r.shape(node.input[0])[1:]])
    block = given["blocksize"]
    parts = r.constant([-1, channels // block**2, height, block, width, block])
    # (N, C, h, b, w, b) → CRD (N, C, b, b, h, w), DCR (N, b, b, C, h, w)
    order = [0, 1, 3, 5, 2, 4] if given.get("mode", b"DCR") == b"CRD" else [0, 3, 5, 1, 2, 4]
    turned = r.emit("Transpose", [r.emit("Reshape", [r.given(node), parts])], perm=order)
    return r.emit("Reshape", [turned, r.constant([-1, channels, height, width])])


def _resize(r: _Reverse, node: onnx.NodeProto, given: dict[str, Any], position: int) -> str:
    """Pixels repeated f times along both sides: the sum over each block, f² times its mean."""
    del position
    before, after = (list(map(_known, r.shape(name)[2:])) for name in (node.input[0], node.output[0]))
    factors = [b // a for a, b in zip(before, after, strict=True)]
    if given.get("mode", b"nearest") != b"nearest" or [a * f for a, f in zip(before, factors, strict=True)] != after:
        raise UserError("the decoder has a Resize other than repeating pixels, whose gradient is not implemented")
    mean = r.emit("AveragePool", [r.given(node)], kernel_shape=factors, strides=factors)
    return r.emit("Mul", [mean, r.constant(float(np.prod(factors)), np.float32)])


def _known(size: int | None) -> int:
    assert size is not None, "only the batch is dynamic"
    return size


_ADJOINTS: dict[str, _Adjoint] = {
    "Gemm": _gemm,
    "MatMul": _matmul,
    "ConvTranspose": _conv_transpose,
    "Conv": _conv,
    "Slice": _slice,
    "Split": _split,
    "Concat": _concat,
    "DepthToSpace": _depth_to_space,
    "Resize": _resize,
    "Transpose": _transpose,
    **dict.fromkeys(("Add", "Sub"), _add),
    **dict.fromkeys(("Mul", "Div"), _multiply),
    **dict.fromkeys(("Exp", "Log", "Tanh", "Sigmoid", "Softplus", "Abs"), _elementwise),
    **dict.fromkeys(("Relu", "Clip"), _kinked),
    **dict.fromkeys(("Reshape", "Flatten", "Squeeze", "Unsqueeze"), _reshaped),
    **dict.fromkeys(("ReduceSum", "ReduceMax"), _reduce),
    **dict.fromkeys(("Identity", "Cast"), _same),
    "Neg": _negate,
}
