"""Static quantisation of a graph's convolutions and large matrix products to 8-bit integers.

Weights become integers of 7 bits, one scale per output channel; activations of 8 bits, with ranges seen on
in-distribution images (Jacob et al. 2018). Both are signed, with zero at 0: TensorRT takes no others, and ONNX Runtime
turns them into unsigned ones where those are faster. Processors without integer dot products add pairs of products in
16 bits, which just suffice: the sums are exact on all of them.

The ends stay in fp32: the first convolution, which sees the image, the layers that output the posterior's and the
likelihood's parameters, and everything after them. Quantised layers exchange bytes.
The result is an ordinary ONNX graph with QuantizeLinear and DequantizeLinear nodes, which a runtime fuses into integer
kernels where it has them.
"""

import logging
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static
from scipy.stats import spearmanr

from export.runtime.session import Arrays
from vae_core.errors import UserError

RANGE_IMAGES = 1024
"""Enough for the ranges of the activations: with 64 or 6,000 images the scores rank alike."""
_LEAST_CORRELATION = 0.9
_BATCH = 64
_KEPT = ("encoder.convolutions.0.", "encoder.posterior.", "causal.")  # in fp32, as the decoder's first and last layer
_MOVES = {"Relu", "Reshape", "Transpose", "Slice", "Pad", "DepthToSpace", "Resize", "Flatten"}


def quantise(graph: bytes, images: npt.NDArray[np.uint8]) -> bytes:
    """The graph in 8-bit integers.

    Args:
        graph: an ONNX model of a VAE whose input is the image.
        images: in-distribution images [n,C,H,W], which determine the ranges of the activations.
    """
    model = onnx.load_model_from_string(graph)
    with tempfile.TemporaryDirectory(prefix="vae-quantise-") as scratch, _quiet():
        target = Path(scratch) / "quantised.onnx"
        quantize_static(
            model,
            target,
            _Batches(model.graph.input[0].name, images),
            quant_format=QuantFormat.QDQ,
            nodes_to_quantize=_chosen(model.graph),
            per_channel=True,
            activation_type=QuantType.QInt8,
            weight_type=QuantType.QInt8,
            reduce_range=True,
            extra_options={"ActivationSymmetric": True},
            calibrate_method=CalibrationMethod.MinMax,
        )
        data: bytes = target.read_bytes()
    return data


def check_agreement(found: Arrays, exact: Arrays, names: Sequence[str]) -> dict[str, Any]:
    """How similarly integers and fp32 rank in-distribution images: the lowest rank correlation, and its output.

    Raises:
        UserError: it is below 0.9: quantisation changes the ranking too much.
    """
    correlation = {name: _rank_correlation(found[name], exact[name]) for name in names}
    worst = min(correlation, key=correlation.__getitem__)
    if not correlation[worst] >= _LEAST_CORRELATION:
        raise UserError(
            f"int8 must rank images as fp32 does, with a rank correlation of at least {_LEAST_CORRELATION}, "
            f"but {worst} has {correlation[worst]:.2f}; no bundle was written: export without --int8"
        )
    return {"images": len(exact[worst]), "least_rank_correlation": round(correlation[worst], 5), "output": worst}


def _rank_correlation(a: npt.NDArray[Any], b: npt.NDArray[Any]) -> float:
    """Spearman's ρ; 1 where one of them is constant, as a share of white pixels may be."""
    if np.ptp(a) == 0 or np.ptp(b) == 0:
        return 1.0
    return float(spearmanr(a, b).statistic)


def _chosen(graph: onnx.GraphProto) -> list[str]:
    """The names of the nodes to quantise: inner layers, and nodes that only rearrange their values."""
    weights = {item.name.removeprefix("model.") for item in graph.initializer}
    from_code = "decoder.hidden." if "decoder.hidden.weight" in weights else "decoder.expand."
    kept = (*_KEPT, from_code, f"decoder.upsamplings.{_last(weights)}.")
    names: list[str] = []
    bytes_flow: set[str] = set()  # outputs that are quantised
    for node in graph.node:  # in topological order
        weight = node.input[1].removeprefix("model.") if len(node.input) > 1 else ""
        is_layer = node.op_type in ("Conv", "Gemm") and weight in weights and not weight.startswith(kept)
        moves_bytes = node.op_type in _MOVES and node.input[0] in bytes_flow
        if is_layer or moves_bytes:
            names.append(node.name)
            bytes_flow.update(node.output)
    return names


def _last(weights: set[str]) -> int:
    """The number of the decoder's last upsampling."""
    return max(int(name.split(".")[2]) for name in weights if name.startswith("decoder.upsamplings."))


class _Batches(CalibrationDataReader):  # type: ignore[misc]
    """Images for the quantiser, a batch at a time."""

    def __init__(self, input_name: str, images: npt.NDArray[np.uint8]) -> None:
        starts = range(0, len(images), _BATCH)
        self._batches: Iterator[dict[str, Any]] = ({input_name: images[i : i + _BATCH]} for i in starts)

    def get_next(self) -> dict[str, Any] | None:
        """The next batch, None after the last."""
        return next(self._batches, None)


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the quantiser's advice, which does not apply to graphs optimised at export."""
    logger = logging.getLogger()
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
