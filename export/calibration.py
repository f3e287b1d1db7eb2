"""Conformal calibration: scores of held-out in-distribution images turn a score into a p-value.

p(s) = (1 + #{calibration scores ≥ s}) / (n + 1). For an image from the distribution of the calibration images,
P(p ≤ α) ≤ α for every α, whatever the score and however few the images (Vovk et al. 2005; Bates et al. 2023).
"""

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from vae_core.errors import UserError

P_VALUE = "p_value"
MOST = 2**23 - 1
"""The most calibration images: beyond, a float32 p-value no longer tells which of the n + 1 it is."""
_PREFIX = "calibration/"

Scores = npt.NDArray[np.float32]


def p_values(calibration: Scores, scores: Scores) -> npt.NDArray[np.float64]:
    """Conformal p-values of `scores` [N] given sorted `calibration` scores [n]."""
    below = np.searchsorted(calibration, scores, side="left").astype(np.float64)
    p: npt.NDArray[np.float64] = (1.0 + len(calibration) - below) / (len(calibration) + 1.0)
    return p


def ranks(p: npt.NDArray[np.floating], size: int) -> npt.NDArray[np.int64]:
    """K ∈ 1…n+1 with p = k/(n+1): the exact counter behind a float32 p-value (n = `size` ≤ `MOST`)."""
    return np.rint(np.asarray(p, dtype=np.float64) * (size + 1)).astype(np.int64)


def threshold(calibration: Scores, level: float) -> float:
    """The score above which p ≤ `level`: s is flagged if and only if s > threshold.

    Raises:
        UserError: `level` is finer than the 1/(n+1) that n calibration images can resolve, or not below 1.
    """
    size = len(calibration)
    allowed = math.floor(level * (size + 1) * (1 + 1e-12))  # p = k/(n+1) ≤ level ⇔ k ≤ allowed
    if allowed < 1 or not level < 1:
        raise UserError(
            f"a rate of {level} is not possible with {size} calibration images: "
            f"it must be from {1 / (size + 1):.2g} up to, but below, 1"
        )
    # p ≤ allowed/(n+1) ⇔ fewer than `allowed` calibration scores are ≥ s ⇔ s > the allowed-th largest.
    return float(calibration[size - allowed])


def attach(scorer: bytes, scores: npt.ArrayLike) -> bytes:
    """scorer.onnx with the output p_value made from calibration `scores` [n], in place of any it had.

    The graph counts exactly, in two steps of about √n comparisons each: the sorted scores lie in rows of equal
    length; the rows that end below s are counted whole, and in the first that does not, scores are counted one by
    one. The nodes are written here rather than exported from torch, whose exporter merges constants of equal value:
    an exchanged calibration constant must be nobody else's.
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
    onnx.checker.check_model(model)
    data: bytes = model.SerializeToString()
    return data


def _counting_graph(ordered: Scores) -> tuple[dict[str, npt.NDArray[Any]], list[onnx.NodeProto]]:
    width = math.isqrt(len(ordered)) + 1
    rows = len(ordered) // width + 1  # at least one place is left over, for +∞: no score is beyond the last row
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
