"""P-values inside a graph: nodes that count calibration scores, added to scorer.onnx.

Separate from `export.guarantees.p_values` because scoring jobs do not need onnx, whose import takes 0.1 s.
"""

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from export.guarantees.p_values import P_VALUE, Scores
from vae_core.outputs import Output

P_VALUES = Output(
    P_VALUE,
    "conformal p-value: (1 + calibration scores at least as high) / (n + 1)",
    "1",
)
_PREFIX = "calibration/"


def attach(scorer: bytes, scores: npt.ArrayLike) -> bytes:
    """scorer.onnx with the output p_value computed from calibration `scores` [n], replacing any it had.

    The graph counts exactly, in two steps of about √n comparisons each: the sorted scores lie in rows of equal
    length; the rows that end below s are counted whole, and in the first that does not, scores are counted one by
    one. The nodes are written here rather than exported from torch, whose exporter merges constants of equal value:
    an exchanged calibration constant must not be shared.
    """
    model = onnx.load_model_from_string(scorer)
    graph = model.graph
    for items in (graph.node, graph.initializer, graph.output):
        kept = [item for item in items if not item.name.startswith(_PREFIX) and item.name != P_VALUE]
        del items[:]
        items.extend(kept)
    constants, nodes = _counting_graph(np.sort(np.asarray(scores, dtype=np.float32)))
    graph.initializer.extend(numpy_helper.from_array(value, _PREFIX + name) for name, value in constants.items())
    graph.node.extend(nodes)
    batch = graph.output[0].type.tensor_type.shape.dim[0].dim_param
    graph.output.append(helper.make_tensor_value_info(P_VALUE, TensorProto.FLOAT, [batch]))
    data: bytes = model.SerializeToString()
    return data


def _counting_graph(ordered: Scores) -> tuple[dict[str, npt.NDArray[Any]], list[onnx.NodeProto]]:
    width = math.isqrt(len(ordered)) + 1
    rows = len(ordered) // width + 1  # leaves at least one +∞: no score is beyond the last row
    padded = np.full(rows * width, np.inf, dtype=np.float32)
    padded[: len(ordered)] = ordered
    blocks = padded.reshape(rows, width)
    constants: dict[str, npt.NDArray[Any]] = {
        "blocks": blocks,
        "block_ends": blocks[:, -1].copy(),
        "width": np.asarray(width, dtype=np.int64),
        "size_plus_one": np.asarray(len(ordered) + 1, dtype=np.float32),
        "last_axis": np.asarray([1], dtype=np.int64),
    }

    def node(operator: str, inputs: str, output: str, **attributes: Any) -> onnx.NodeProto:
        names = [name if name == "outlier_score" else _PREFIX + name for name in inputs.split()]
        target = output if output == P_VALUE else _PREFIX + output
        return helper.make_node(operator, names, [target], name=_PREFIX + output, **attributes)

    int64, single = TensorProto.INT64, TensorProto.FLOAT
    return constants, [
        node("Unsqueeze", "outlier_score last_axis", "score"),  # (N, 1)
        node("Less", "block_ends score", "row_is_below"),  # (N, rows)
        node("Cast", "row_is_below", "row_count", to=int64),
        node("ReduceSum", "row_count last_axis", "whole_rows", keepdims=0),  # (N,)
        node("Gather", "blocks whole_rows", "row"),  # (N, width)
        node("Less", "row score", "item_is_below"),
        node("Cast", "item_is_below", "item_count", to=int64),
        node("ReduceSum", "item_count last_axis", "items", keepdims=0),
        node("Mul", "whole_rows width", "items_before"),
        node("Add", "items_before items", "below_count"),
        node("Cast", "below_count", "below", to=single),
        node("Sub", "size_plus_one below", "rank"),
        node("Div", "rank size_plus_one", P_VALUE),
    ]
