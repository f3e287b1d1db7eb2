"""The gradient of an ONNX graph, as two ONNX graphs: reverse-mode differentiation without torch.

For outputs y_1, y_2, … of an input z:

    forward     inputs → y_1, y_2, …, and the inner values that the second graph needs, called residuals
    backward    residuals, a cotangent v_i of each output → gradient = Σ_i (∂y_i/∂z)ᵀ v_i, of the shape of z

The backward graph has one adjoint for each node of the forward graph, in reverse order (Griewank and Walther 2008,
chapter 3). It costs about as much as the graph itself, whatever the number of inputs. Both share the graph's weights
and are derived when a job needs them, so every bundle has gradients.

Only the operators of decoders have an adjoint; it is not for training.
"""

from collections.abc import Sequence
from typing import Any

import onnx
from onnx import helper

from export.bundle.format import Bundle
from export.bundle.weights import OnnxGraph
from export.graphs.adjoints import ADJOINTS, INSTEAD
from export.graphs.tape import Tape
from export.runtime.decoding import GRADIENT, Linearised, cotangent, parameters_graph
from vae_core.errors import UserError
from vae_core.likelihoods import likelihood


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
    backward = [*reverse.tape.nodes, helper.make_node("Identity", [gradient], [GRADIENT])]
    inner = {name for node in reverse.forward for name in node.output} | {each.name for each in model.graph.input}
    read = dict.fromkeys(name for node in backward for name in node.input)
    residuals = tuple(name for name in read if name in inner)

    def made(nodes: Sequence[onnx.NodeProto], inputs: Sequence[Any], results: Sequence[Any], name: str) -> OnnxGraph:
        used = {each for node in nodes for each in node.input}
        initialisers = [each for each in model.graph.initializer if each.name in used]
        initialisers += [each for each in reverse.tape.constants if each.name in used]
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
    """One differentiation: the nodes that the outputs need, and the tape."""

    def __init__(self, model: onnx.ModelProto, wrt: str) -> None:
        self._model, self._wrt = model, wrt
        self.tape = Tape(model)
        self.forward: list[onnx.NodeProto] = []

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
            self.tape.add(name, cotangent(name))
        for node in reversed(self.forward):
            if moves.intersection(node.input) and any(map(self.tape.has, node.output)):
                self._step(node, moves)
        return self.tape.adjoint(self._wrt)

    def _step(self, node: onnx.NodeProto, moves: set[str]) -> None:
        """Add what a node contributes to the adjoints of its moving inputs."""
        adjoint_of = ADJOINTS.get(node.op_type)
        if adjoint_of is None:
            raise UserError(f"the decoder has the operator {node.op_type}, which has no gradient here; {INSTEAD}")
        attributes = {each.name: helper.get_attribute_value(each) for each in node.attribute}
        for position, name in enumerate(node.input):
            if name in moves:
                self.tape.add(name, adjoint_of(self.tape, node, attributes, position))
