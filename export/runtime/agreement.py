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
    allowed: float  # of the absolute difference for uint8 images, of the relative one for others
    ok: bool
    is_image: bool = False

    @property
    def found(self) -> float:
        """The difference that `allowed` is a bound of."""
        return self.absolute if self.is_image else self.relative

    @property
    def share(self) -> float:
        """The difference as a share of what is allowed; infinite if it is not a number."""
        return self.found / self.allowed if np.isfinite(self.found) else float("inf")


def compare(found: Arrays, expected: Mapping[str, npt.NDArray[Any]], outputs: Sequence[Output]) -> list[Difference]:
    """The worst difference of each of `outputs` from its expected value."""
    differences = []
    for output in outputs:
        reference = expected[output.name].astype(np.float64)
        delta = np.abs(found[output.name].astype(np.float64) - reference)
        relative = delta / np.maximum(output.scale, np.abs(reference))
        is_image = found[output.name].dtype == np.uint8
        allowed = float(_IMAGE_LEVELS) if is_image else output.tolerance
        found_difference = Difference(
            output.name, float(delta.max()), float(relative.max()), allowed, ok=False, is_image=is_image
        )
        # Comparisons with NaN are false: it fails.
        differences.append(found_difference._replace(ok=found_difference.found <= allowed))
    return differences


def as_different(found: Arrays, exact: Mapping[str, npt.NDArray[Any]], outputs: Sequence[Output]) -> tuple[Output, ...]:
    """`outputs` of a graph in 8-bit integers, whose tolerance is what the integers change, if that is more.

    A value on the border between two levels is rounded either way, and moves what follows by as much as another
    rounding does.
    """
    changes = compare(found, exact, outputs)
    return tuple(
        output._replace(tolerance=max(output.tolerance, change.relative))
        for output, change in zip(outputs, changes, strict=True)
    )
