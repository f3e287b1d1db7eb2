"""Comparison of the outputs of two runtimes, with the tolerance that each output states."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from export.runtime.session import Arrays
from vae_core.outputs import Output

_IMAGE_LEVELS = 1


class Difference(NamedTuple):
    """The worst difference of one output."""

    output: str
    absolute: float
    relative: float  # |Δ| / max(scale, |value|)
    allowed: float
    ok: bool


def compare(found: Arrays, expected: Mapping[str, npt.NDArray[Any]], outputs: Sequence[Output]) -> list[Difference]:
    """The worst difference of each of `outputs` from its expected value."""
    differences = []
    for output in outputs:
        reference = expected[output.name].astype(np.float64)
        delta = np.abs(found[output.name].astype(np.float64) - reference)
        relative = delta / np.maximum(output.scale, np.abs(reference))
        if found[output.name].dtype == np.uint8:
            worst, allowed = float(delta.max()), float(_IMAGE_LEVELS)
        else:
            worst, allowed = float(relative.max()), output.tolerance
        # Comparisons with NaN are false: it fails.
        ok = worst <= allowed
        differences.append(Difference(output.name, float(delta.max()), float(relative.max()), allowed, ok))
    return differences
