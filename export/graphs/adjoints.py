"""The adjoint of each operator of a decoder and its likelihood, as new ONNX nodes, put together by `reverse`.

For y = f(x) and the adjoint ȳ of y, the adjoint of x is x̄ = (∂f/∂x)ᵀ ȳ.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx

from export.graphs.tape import Tape


class NoGradient(Exception):
    """An operator has no adjoint here; the message says which, as the end of a sentence."""


# (tape, node, its attributes, which input) → the name of that input's adjoint
_Adjoint = Callable[[Tape, onnx.NodeProto, dict[str, Any], int], str]


def _gemm(tape: Tape, node: onnx.NodeProto, given: dict[str, Any], position: int) -> str:
    if position != 0 or given.get("transA"):
        raise NoGradient("a product of two values that depend on z has no gradient here")
    back = 0 if given.get("transB") else 1
    return tape.emit("Gemm", [tape.given(node), node.input[1]], transB=back, alpha=given.get("alpha", 1.0))


def _matmul(tape: Tape, node: onnx.NodeProto, given: dict[str, Any], position: int) -> str:
    del given
    factor = node.input[1 - position]
    rank = len(tape.shape(factor))
    turned = tape.emit("Transpose", [factor], perm=[*range(rank - 2), rank - 1, rank - 2])
    return tape.emit("MatMul", [tape.given(node), turned] if position == 0 else [turned, tape.given(node)])


_WINDOW = ("strides", "pads", "dilations", "group")


def _conv_transpose(tape: Tape, node: onnx.NodeProto, given: dict[str, Any], position: int) -> str:
    assert position == 0, "weights are constants"
    return tape.emit("Conv", _reused(tape, node), **{key: given[key] for key in _WINDOW if key in given})


def _conv(tape: Tape, node: onnx.NodeProto, given: dict[str, Any], position: int) -> str:
    assert position == 0, "weights are constants"
    strides = given.get("strides", [1, 1])
    before, after = tape.shape(node.input[0])[2:], tape.shape(node.output[0])[2:]
    kernel, rank = tape.shape(node.input[1])[2:], len(strides)
    pads, dilations = given.get("pads", [0] * 2 * rank), given.get("dilations", [1] * rank)
    # What the transposed convolution lacks of the input's size, where the stride left pixels out.
    lacking = [
        _known(before[i])
        - ((_known(after[i]) - 1) * strides[i] + (_known(kernel[i]) - 1) * dilations[i] + 1 - pads[i] - pads[i + rank])
        for i in range(rank)
    ]
    window = {key: given[key] for key in _WINDOW if key in given}
    return tape.emit("ConvTranspose", _reused(tape, node), output_padding=lacking, **window)


def _reused(tape: Tape, node: onnx.NodeProto) -> list[str]:
    """The adjoint of a convolution's output and its weights, for the convolution the other way.

    OpenVINO (2026.4) arranges weights for one of the two, and takes them so arranged for the other as well if the
    numbers of channels are equal, so that their shapes are. Negated, they are other weights, of the same product.
    """
    inputs = [tape.given(node), node.input[1]]
    before, after = tape.shape(node.input[1])[:2]
    return [tape.emit("Neg", [each]) for each in inputs] if before == after else inputs


def _slice(tape: Tape, node: onnx.NodeProto, given: dict[str, Any], position: int) -> str:
    del given, position
    shape = tape.shape(node.input[0])
    starts, ends = tape.integers(node.input[1]), tape.integers(node.input[2])
    axes = tape.integers(node.input[3]) if len(node.input) > 3 else list(range(len(starts)))
    if len(node.input) > 4 and set(tape.integers(node.input[4])) != {1}:
        raise NoGradient("a Slice with steps has no gradient here")
    before, after = [0] * len(shape), [0] * len(shape)
    for start, end, axis in zip(starts, ends, axes, strict=True):
        size = shape[axis]
        if size is None:  # the whole batch
            continue
        first, last = (min(max(edge + size if edge < 0 else edge, 0), size) for edge in (start, end))
        before[axis], after[axis] = first, size - last
    return tape.emit("Pad", [tape.given(node), tape.constant([*before, *after])])


def _split(tape: Tape, node: onnx.NodeProto, given: dict[str, Any], position: int) -> str:
    del position
    return tape.emit("Concat", [tape.given(node, i) for i in range(len(node.output))], axis=given.get("axis", 0))


def _concat(tape: Tape, node: onnx.NodeProto, given: dict[str, Any], position: int) -> str:
    axis = given["axis"]
    sizes = [_known(tape.shape(name)[axis]) for name in node.input]
    start = sum(sizes[:position])
    edges = [tape.constant([start]), tape.constant([start + sizes[position]]), tape.constant([axis])]
    return tape.emit("Slice", [tape.given(node), *edges])


def _add(tape: Tape, node: onnx.NodeProto, given: dict[str, Any], position: int) -> str:
    del given
    adjoint = tape.given(node)
    if node.op_type == "Sub" and position == 1:
        adjoint = tape.emit("Neg", [adjoint])
    return tape.summed_to(node.input[position], adjoint, node.output[0])


def _multiply(tape: Tape, node: onnx.NodeProto, given: dict[str, Any], position: int) -> str:
    del given
    adjoint, other = tape.given(node), node.input[1 - position]
    if node.op_type == "Mul":
        adjoint = tape.emit("Mul", [adjoint, other])
    elif position == 0:
        adjoint = tape.emit("Div", [adjoint, other])
    else:  # −ȳ (a/b)/b, in this order: of log(a/b) the first product is one, where (a/b)/b may underflow
        product = tape.emit("Mul", [adjoint, node.output[0]])
        adjoint = tape.emit("Neg", [tape.emit("Div", [product, node.input[1]])])
    return tape.summed_to(node.input[position], adjoint, node.output[0])


def _elementwise(tape: Tape, node: onnx.NodeProto, given: dict[str, Any], position: int) -> str:
    del given, position
    adjoint, x, y = tape.given(node), node.input[0], node.output[0]
    one = tape.constant(1.0, np.float32)
    if node.op_type == "Exp":
        slope = y
    elif node.op_type == "Tanh":
        slope = tape.emit("Sub", [one, tape.emit("Mul", [y, y])])
    elif node.op_type == "Sigmoid":
        slope = tape.emit("Mul", [y, tape.emit("Sub", [one, y])])
    elif node.op_type == "Softplus":
        slope = tape.emit("Sigmoid", [x])
    elif node.op_type == "Abs":
        slope = tape.emit("Sign", [x])
    else:
        assert node.op_type == "Log"
        return tape.emit("Div", [adjoint, x])
    return tape.emit("Mul", [adjoint, slope])


def _kinked(tape: Tape, node: onnx.NodeProto, given: dict[str, Any], position: int) -> str:
    """Relu and Clip let the adjoint pass where they left the value alone."""
    del given, position
    x, y = node.input[0], node.output[0]
    if node.op_type == "Relu":
        return tape.zero_where_not(tape.emit("Greater", [y, tape.constant(0.0, np.float32)]), tape.given(node))
    return tape.zero_where_not(tape.emit("Equal", [x, y]), tape.given(node))


def _power(tape: Tape, node: onnx.NodeProto, given: dict[str, Any], position: int) -> str:
    del given
    assert position == 0, "exponents are constants"
    (exponent,) = tape.values(node.input[1]).tolist()
    base, factor = (tape.constant(value, np.float32) for value in (exponent - 1.0, exponent))
    slope = tape.emit("Mul", [tape.emit("Pow", [node.input[0], base]), factor])
    return tape.emit("Mul", [tape.given(node), slope])


def _larger(tape: Tape, node: onnx.NodeProto, given: dict[str, Any], position: int) -> str:
    """The adjoint of Max goes to the larger of two, the first if they are equal."""
    del given
    first, second = node.input
    wins = ("GreaterOrEqual", [first, second]) if position == 0 else ("Greater", [second, first])
    return tape.summed_to(node.input[position], tape.zero_where_not(tape.emit(*wins), tape.given(node)), node.output[0])


def _where(tape: Tape, node: onnx.NodeProto, given: dict[str, Any], position: int) -> str:
    del given
    condition, adjoint = node.input[0], tape.given(node)
    if position == 2:
        condition = tape.emit("Not", [condition])
    return tape.summed_to(node.input[position], tape.zero_where_not(condition, adjoint), node.output[0])


def _expand(tape: Tape, node: onnx.NodeProto, given: dict[str, Any], position: int) -> str:
    del given
    return tape.summed_to(node.input[position], tape.given(node), node.output[0])


def _negate(tape: Tape, node: onnx.NodeProto, given: dict[str, Any], position: int) -> str:
    del given, position
    return tape.emit("Neg", [tape.given(node)])


def _same(tape: Tape, node: onnx.NodeProto, given: dict[str, Any], position: int) -> str:
    del given, position
    return tape.given(node)


def _reshaped(tape: Tape, node: onnx.NodeProto, given: dict[str, Any], position: int) -> str:
    """Reshape, Flatten, Squeeze and Unsqueeze only rename places."""
    del given, position
    return tape.reshaped_as(node.input[0], tape.given(node))


def _transpose(tape: Tape, node: onnx.NodeProto, given: dict[str, Any], position: int) -> str:
    del position
    return tape.emit("Transpose", [tape.given(node)], perm=[int(i) for i in np.argsort(given["perm"])])


def _reduce(tape: Tape, node: onnx.NodeProto, given: dict[str, Any], position: int) -> str:
    """ReduceSum, and ReduceMax, whose adjoint goes to the largest."""
    del position
    adjoint, y = tape.given(node), node.output[0]
    if not given.get("keepdims", 1):
        axes = node.input[1]
        adjoint, y = tape.emit("Unsqueeze", [adjoint, axes]), tape.emit("Unsqueeze", [y, axes])
    spread = tape.emit("Expand", [adjoint, tape.emit("Shape", [node.input[0]])])
    if node.op_type == "ReduceSum":
        return spread
    return tape.zero_where_not(tape.emit("Equal", [node.input[0], y]), spread)


def _depth_to_space(tape: Tape, node: onnx.NodeProto, given: dict[str, Any], position: int) -> str:
    """(…, C, h, b, w, b) back to (…, C, b, b, h, w), or blocks before channels in the mode DCR."""
    del position
    _, channels, height, width = map(_known, [1, *tape.shape(node.input[0])[1:]])
    block = given["blocksize"]
    parts = tape.constant([-1, channels // block**2, height, block, width, block])
    # (N, C, h, b, w, b) → CRD (N, C, b, b, h, w), DCR (N, b, b, C, h, w)
    order = [0, 1, 3, 5, 2, 4] if given.get("mode", b"DCR") == b"CRD" else [0, 3, 5, 1, 2, 4]
    turned = tape.emit("Transpose", [tape.emit("Reshape", [tape.given(node), parts])], perm=order)
    return tape.emit("Reshape", [turned, tape.constant([-1, channels, height, width])])


def _resize(tape: Tape, node: onnx.NodeProto, given: dict[str, Any], position: int) -> str:
    """Pixels repeated f times along both sides: the sum over each block, f² times its mean."""
    del position
    before, after = (list(map(_known, tape.shape(name)[2:])) for name in (node.input[0], node.output[0]))
    factors = [b // a for a, b in zip(before, after, strict=True)]
    if given.get("mode", b"nearest") != b"nearest" or [a * f for a, f in zip(before, factors, strict=True)] != after:
        raise NoGradient("a Resize other than repeating pixels has no gradient here")
    mean = tape.emit("AveragePool", [tape.given(node)], kernel_shape=factors, strides=factors)
    return tape.emit("Mul", [mean, tape.constant(float(np.prod(factors)), np.float32)])


def _known(size: int | None) -> int:
    assert size is not None, "only the batch is dynamic"
    return size


ADJOINTS: dict[str, _Adjoint] = {
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
    "Pow": _power,
    "Max": _larger,
    "Where": _where,
    "Expand": _expand,
}
"""By operator."""

PIECEWISE_CONSTANT = frozenset(
    ("Less", "Greater", "LessOrEqual", "GreaterOrEqual", "Equal", "And", "Or", "Not", "Shape")
)
"""Operators whose outputs move with no input, but for jumps."""
