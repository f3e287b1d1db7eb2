"""The region of interest: the pixels of an image that count.

The others are set to one level for each channel, before anything is computed of an image: in training, and within the
graphs of a bundle. So nothing depends on them, and calibration images are treated as every image is.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeGuard

import numpy as np
import numpy.typing as npt

Images = npt.NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Region:
    """Which pixels count, and what the others are set to."""

    inside: npt.NDArray[np.bool_]
    """[H, W]."""
    fill: tuple[int, ...]
    """The level of each channel outside."""

    @classmethod
    def fitted(cls, inside: npt.NDArray[np.bool_], images: Images) -> "Region":
        """The region with the mean level inside of images [N,C,H,W], N ≥ 1, which makes its edge faint."""
        means = images[:, :, inside].mean(axis=(0, 2), dtype=np.float64)
        return cls(inside, tuple(np.rint(means).astype(int).tolist()))

    def apply(self, images: Images) -> Images:
        """The images [N,C,H,W] with the level `fill` outside."""
        return np.where(self.inside, images, np.array(self.fill, np.uint8)[:, None, None])

    def to_json(self) -> dict[str, Any]:
        """JSON-serialisable form; `runs` are lengths of runs in row-major order, the first of pixels outside."""
        flat = self.inside.ravel()
        ends = np.flatnonzero(np.diff(flat, prepend=False, append=not flat[-1]))
        return {"fill": list(self.fill), "runs": np.diff(ends, prepend=0).tolist()}

    @classmethod
    def from_json(cls, value: object, shape: Sequence[int]) -> "Region":
        """The region of images of shape (C, H, W).

        Raises:
            ValueError: the value is not one, or is of other images.
        """
        channels, height, width = shape
        if not isinstance(value, Mapping):
            raise ValueError("it is no object")
        fill, runs = value.get("fill"), value.get("runs")
        if not (_are_integers(fill, 255) and _are_integers(runs, height * width)):
            raise ValueError("it has no fill and runs of integers within their limits")
        if len(fill) != channels or sum(runs) != height * width or not sum(runs[1::2]):
            raise ValueError(f"it must be of {channels} channels and {height * width} pixels, some of them inside")
        inside = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
        return cls(inside.reshape(height, width), tuple(fill))


def _are_integers(values: object, most: int) -> TypeGuard[list[int]]:
    return isinstance(values, list) and all(type(value) is int and 0 <= value <= most for value in values)
