"""Conversion of a graph's torch module to ONNX."""

import warnings
from typing import Any

import onnx
import torch
from onnx_ir.passes.common import NameFixPass
from onnxscript import opset20 as op

from export.graphs.modules import Graph
from vae_core.batch import Arrays

# From opset 21 on, normalisations become operators that several runtimes lack.
OPSET = 20
BATCH = "N"


def to_onnx(graph: Graph, name: str, example: Arrays) -> bytes:
    """The ONNX model of `graph`, with a dynamic first dimension named N and nothing else dynamic.

    Args:
        graph: what to convert.
        name: the graph's name in the file.
        example: its inputs, of at least two items; others are ignored.
    """
    names = [value.name for value in graph.inputs]
    values = tuple(torch.from_numpy(example[name][:2]) for name in names)
    assert all(len(value) == 2 for value in values), "a batch of one would become a constant"
    with warnings.catch_warnings():
        # The exporter warns about its own internals (deprecated calls, axes named twice); its result is
        # checked below and by the parity check.
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            graph.eval(),
            values,
            dynamo=True,
            opset_version=OPSET,
            input_names=names,
            output_names=[output.name for output in graph.outputs],
            dynamic_shapes=(tuple({0: torch.export.Dim(BATCH)} for _ in values),),  # of forward(*values)
            external_data=False,
            optimize=True,
            verbose=False,
            custom_translation_table={torch.ops.aten.softplus.default: _softplus},
        )
    assert program is not None
    # The exporter may give an output the name of an inner value, such as the buffer or the `mean` of that name.
    NameFixPass()(program.model)
    model = program.model_proto
    _tidy(model, name)
    _check_dimensions(model)
    onnx.checker.check_model(model)
    data: bytes = model.SerializeToString()
    return data


def _softplus(x: Any, beta: float = 1.0, threshold: float = 20.0) -> Any:
    """Softplus(x) = max(x, 0) + log(1 + e^−|x|): ONNX Runtime computes its parts with vector instructions.

    Its own Softplus is scalar: 9 µs for a 28×28 image, of which a scorer takes several, against 2 µs.
    """
    assert beta == 1.0, "only the default slope is supported"
    del threshold  # beyond it torch returns x, as this does within rounding
    one = op.CastLike(op.Constant(value_float=1.0), x)  # type: ignore[type-var]  # of a value whose type comes later
    return op.Add(op.Relu(x), op.Log(op.Add(one, op.Exp(op.Neg(op.Abs(x))))))


def _tidy(model: onnx.ModelProto, name: str) -> None:
    """Strip build-machine metadata: source paths and stack traces."""
    graph = model.graph
    graph.name = name
    graph.doc_string = ""
    model.doc_string = ""
    del model.metadata_props[:]
    for item in (graph, *graph.node, *graph.value_info, *graph.input, *graph.output, *graph.initializer):
        if hasattr(item, "metadata_props"):
            del item.metadata_props[:]
        item.doc_string = ""
    del model.functions[:]
    del graph.value_info[:]


def _check_dimensions(model: onnx.ModelProto) -> None:
    """A dimension used in Python arithmetic is frozen silently: every batch dimension must still be dynamic."""
    for value in (*model.graph.input, *model.graph.output):
        first, *others = value.type.tensor_type.shape.dim
        assert first.dim_param == BATCH, f"{value.name}: the batch was frozen at {first.dim_value}"
        assert all(d.dim_value > 0 for d in others), f"{value.name}: a dimension other than the batch is dynamic"
