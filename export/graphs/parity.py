"""The parity check: every output of every graph, ONNX Runtime against PyTorch, on a probe batch that is hard.

Untrained networks and ordinary images hide what breaks: the probe batch has real held-out images and extreme ones,
and the weights are the trained ones.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from export.runtime.session import Arrays, Session
from vae_core.errors import UserError
from vae_core.noise import Purpose, uniform

# Largest |Δ| / max(1, |value|) in fp32. Images are whole grey levels. The likelihood's parameters are in grey levels
# too (or logits), of which only differences count: they are judged against the 255 of their range. Effective samples
# are exponentials of log-weights, whose absolute error in fp32 is 1e-7 of a thousand nats. Peaks are of a single pixel,
# whose rounding nothing averages. The outlier score and the log density of codes divide differences by spreads, which
# magnifies rounding, as contributions and deviations do, and large contributions may cancel. The surprise of a pixel is
# a difference of log-probabilities over a scale that may be a tenth of a grey level. A p-value steps where its score
# passes a calibration score, of which the probe batch holds some.
_DEFAULT_TOLERANCE = 1e-5
_TOLERANCES = {
    "location": 1e-5 * 255,
    "logits": 1e-4,
    "effective_samples": 1e-2,
    "log_peak_error": 1e-4,
    "log_peak_surprise": 1e-4,
    "outlier_score": 1e-4,
    "log_aggregate_posterior": 1e-4,
    "contributions": 1e-2,
    "deviations": 1e-3,
    "surprise": 1e-2,
    "p_value": 1e-2,
}
_LOG_PROBABILITIES = ("reconstruction", "best_reconstruction", "elbo", "log_px")
_IMAGE_LEVELS = 1


class Difference(NamedTuple):
    """The worst difference of one output."""

    output: str
    absolute: float
    relative: float  # |Δ| / max(1, |value|)
    allowed: float
    ok: bool


def probe_images(real: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """The probe batch: the real images given, then eight extreme ones of the same shape, uint8 [N+8,C,H,W]."""
    _, channels, height, width = real.shape
    rows, columns = np.mgrid[0:height, 0:width]
    flat = np.arange(channels * height * width)
    noise = (256 * uniform(0, Purpose.FIT, [0], len(flat))).reshape(channels, height, width)
    planes = [
        np.zeros((height, width)),
        np.full((height, width), 255),
        np.full((height, width), 128),
        255 * ((rows + columns) % 2),  # the highest frequency there is
        255 * (rows // 2 % 2),
        255 * columns / (width - 1),
        255 * ((rows == height // 2) & (columns == width // 2)),
    ]
    extremes = [np.broadcast_to(plane, (channels, height, width)) for plane in planes] + [noise]
    return np.concatenate([real, np.stack(extremes).astype(np.uint8)])


def expected_outputs(graph: nn.Module, batch: npt.NDArray[Any], outputs: Sequence[str]) -> Arrays:
    """What PyTorch computes for `batch`."""
    with torch.inference_mode():
        values = graph(torch.from_numpy(batch))
    return {name: value.numpy() for name, value in zip(outputs, values, strict=True)}


def compare(
    found: Arrays, expected: Mapping[str, npt.NDArray[Any]], log_probability_scale: float = 1.0
) -> list[Difference]:
    """The worst difference of each expected output.

    Args:
        found: the outputs to judge.
        expected: what they should be.
        log_probability_scale: nats that differences of log-probabilities are judged against at least. The pixels'
            log-densities have both signs: their sum may be near zero while its rounding error is not, so a density
            is judged against one nat per pixel.
    """
    differences = []
    for name, reference in expected.items():
        reference = reference.astype(np.float64)
        delta = np.abs(found[name].astype(np.float64) - reference)
        floor = log_probability_scale if name in _LOG_PROBABILITIES else 1.0
        relative = delta / np.maximum(floor, np.abs(reference))
        if found[name].dtype == np.uint8:
            worst, allowed = float(delta.max()), float(_IMAGE_LEVELS)
        else:
            worst, allowed = float(relative.max()), _TOLERANCES.get(name, _DEFAULT_TOLERANCE)
        # A NaN is never ≤ anything: it fails.
        differences.append(Difference(name, float(delta.max()), float(relative.max()), allowed, worst <= allowed))
    return differences


def check(
    name: str, model: bytes, batch: npt.NDArray[Any], expected: Arrays, log_probability_scale: float = 1.0
) -> list[Difference]:
    """Run one graph on its probe batch and compare; see `compare`.

    Raises:
        UserError: an output differs by more than is allowed; nothing may then be written.
    """
    differences = compare(Session(model, provider="cpu").run(batch), expected, log_probability_scale)
    for d in differences:
        if not d.ok:
            raise UserError(
                f"{name}: output {d.output} differs from PyTorch by {d.relative:.1e} (relative; {d.absolute:.1e} "
                f"absolute), allowed is {d.allowed:.1e}; no bundle was written. Look at the training run: weights that "
                "diverged do this"
            )
    return differences
