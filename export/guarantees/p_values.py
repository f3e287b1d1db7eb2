"""Conformal calibration: scores of held-out in-distribution images turn a score into a p-value.

p(s) = (1 + #{calibration scores ≥ s}) / (n + 1). For an image from the distribution of the calibration images,
P(p ≤ α) ≤ α for every α, whatever the score and however few the images (Vovk et al. 2005; Bates et al. 2023).
"""

import math

import numpy as np
import numpy.typing as npt

from vae_core.errors import UserError
from vae_core.outputs import Output

SCORE, P_VALUE = "outlier_score", "p_value"
LEAST = 20
"""The fewest calibration images: with fewer no p-value is below 0.05."""
MOST = 2**23 - 1
"""The most calibration images: with more, a float32 p-value cannot represent all n + 1 values."""

Scores = npt.NDArray[np.float32]


def p_values(calibration: Scores, scores: Scores) -> npt.NDArray[np.float64]:
    """Conformal p-values of `scores` [N] given sorted `calibration` scores [n]."""
    below = np.searchsorted(calibration, scores, side="left").astype(np.float64)
    p: npt.NDArray[np.float64] = (1.0 + len(calibration) - below) / (len(calibration) + 1.0)
    return p


def steps_within(calibration: Scores, scores: Scores, output: Output) -> npt.NDArray[np.int64]:
    """How many steps of the p-value another runtime may see on the other side of each of `scores` [N].

    They are the sorted `calibration` scores [n] that differ from it by no more than the tolerance of `output`.
    """
    values = scores.astype(np.float64)
    reach = output.tolerance * np.maximum(output.scale, np.abs(values))
    first = np.searchsorted(calibration, values - reach, side="left")
    last = np.searchsorted(calibration, values + reach, side="right")
    return (last - first).astype(np.int64)


def tolerance(calibration: Scores, scores: Scores, output: Output) -> float:
    """How far p-values of `scores` [N] may differ between runtimes whose scores agree to the tolerance of `output`.

    It is half a step where no score lies near a calibration score: the p-values must then be the same.
    """
    return float((0.5 + steps_within(calibration, scores, output).max()) / (len(calibration) + 1))


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
        least = math.ceil(1e4 / (size + 1)) / 1e4  # rounded up, so that it can be given
        raise UserError(
            f"--fpr must be at least {least:g} with {size} calibration images, and below 1, got {level}; use --fpr "
            f"{least:g}, or calibrate with more images (vae calibrate)"
        )
    # p ≤ allowed/(n+1) ⇔ fewer than `allowed` calibration scores are ≥ s ⇔ s > the allowed-th largest.
    return float(calibration[size - allowed])
