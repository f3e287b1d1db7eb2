"""Chain ONNX graphs: the outputs of one are the inputs of the next."""

from collections.abc import Mapping

import onnx
from onnx import compose, version_converter

from export.graphs.convert import OPSET

_SHARED = "shared/"


def chain(first: bytes, second: bytes, name: str) -> bytes:
    """One graph of two, with the inputs of `first` and the outputs of `second`.

    Args:
        first: a graph whose inputs and outputs are those of `second`, by name.
        second: the graph that follows. An input of it that `first` does not compute is an input of `first`, too.
        name: of the result.
    """
    before, after = (in_our_opset(onnx.load_model_from_string(content)) for content in (first, second))
    # Prefixed, so that no name of the one is a name in the other.
    before = compose.add_prefix(before, "extractor/", rename_inputs=False, rename_outputs=False)
    computed = {value.name for value in before.graph.output}
    inputs = [value.name for value in after.graph.input]
    shared = [value for value in inputs if value not in computed]
    _rename(after.graph, {value: _SHARED + value for value in shared})
    before.ir_version = after.ir_version = max(before.ir_version, after.ir_version)
    merged = compose.merge_models(before, after, io_map=[(value, value) for value in inputs if value in computed])
    for value in [value for value in merged.graph.input if value.name.startswith(_SHARED)]:
        merged.graph.input.remove(value)
    _rename(merged.graph, {_SHARED + value: value for value in shared})
    merged.graph.name = name
    # Shapes of inner values, in which the two may call the batch differently.
    del merged.graph.value_info[:]
    onnx.checker.check_model(merged)
    content: bytes = merged.SerializeToString()
    return content


def _rename(graph: onnx.GraphProto, names: Mapping[str, str]) -> None:
    """Rename inputs of a graph, and where its nodes use them."""
    for value in graph.input:
        value.name = names.get(value.name, value.name)
    for node in graph.node:
        node.input[:] = [names.get(value, value) for value in node.input]


def in_our_opset(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model in the one opset of all our graphs.

    Raises:
        ValueError: it has operators of another domain than ONNX's own.
    """
    if others := sorted({node.domain for node in model.graph.node} - {"", "ai.onnx"}):
        raise ValueError(f"operators of the domain {others[0]}, which other runtimes lack")
    (opset,) = {entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")}
    if opset != OPSET:
        model = version_converter.convert_version(model, OPSET)
    del model.metadata_props[:]
    del model.opset_import[:]
    model.opset_import.append(onnx.helper.make_opsetid("", OPSET))
    return model
