"""The gradient of an ONNX graph, as one more output: reverse-mode differentiation without torch.

For an output y [N], of which each row depends on its own row of an input z alone:

    gradient = ∂(Σ_n y_n)/∂z,    of the shape of z: row n is ∂y_n/∂z_n

One adjoint for each node is added, in reverse order (Griewank and Walther 2008, chapter 3). That costs about as much as
the graph itself, whatever the number of inputs, and takes no weights of its own.

Only the operators of decoders and likelihoods have an adjoint; it is not for training.
"""

import numpy as np
import onnx
from onnx import helper

from export.graphs.adjoints import ADJOINTS, PIECEWISE_CONSTANT, NoGradient
from export.graphs.tape import Tape


def with_gradient(content: bytes, output: str, wrt: str, name: str) -> bytes:
    """The graph with one more output, the gradient of one that it has.

    Args:
        content: an ONNX graph that holds its weights.
        output: the name of y, float [N].
        wrt: the name of z, a float input. Other inputs count as constants.
        name: of the new output.

    Raises:
        NoGradient: an operator between input and output has no adjoint here.
    """
    model = onnx.load_model_from_string(content)
    tape = Tape(onnx.shape_inference.infer_shapes(model))
    graph = model.graph
    moves = {wrt}  # values that depend on the input
    for node in graph.node:
        if node.op_type not in PIECEWISE_CONSTANT and moves.intersection(node.input):
            moves.update(node.output)
    tape.add(output, tape.emit("Expand", [tape.constant(1.0, np.float32), tape.emit("Shape", [output])]))
    for node in reversed(graph.node):
        if moves.intersection(node.output) and any(map(tape.has, node.output)):
            _step(tape, node, moves)
    (variable,) = (each for each in graph.input if each.name == wrt)
    gradient = onnx.ValueInfoProto()
    gradient.CopyFrom(variable)
    gradient.name = name
    found = tape.adjoint(wrt)
    graph.node.extend([*tape.nodes, helper.make_node("Identity", [found], [name])])
    used = {name for node in graph.node for name in node.input}
    graph.initializer.extend(constant for constant in tape.constants if constant.name in used)
    graph.output.append(gradient)
    onnx.checker.check_model(model)
    result: bytes = model.SerializeToString()
    return result


def _step(tape: Tape, node: onnx.NodeProto, moves: set[str]) -> None:
    """Add what a node contributes to the adjoints of its moving inputs."""
    adjoint_of = ADJOINTS.get(node.op_type)
    if adjoint_of is None:
        raise NoGradient(f"the operator {node.op_type} has no gradient here")
    attributes = {each.name: helper.get_attribute_value(each) for each in node.attribute}
    for position, name in enumerate(node.input):
        if name in moves:
            tape.add(name, adjoint_of(tape, node, attributes, position))
