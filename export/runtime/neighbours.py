"""The calibration images most similar to an image: those with the nearest codes.

The distance is Euclidean, between posterior means. The prior N(0, I) gives every latent unit the same scale, so no
weights are needed; an unused unit has the same mean for every image and contributes nothing.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Codes = npt.NDArray[np.float32]


class Neighbours(NamedTuple):
    """The nearest reference codes, nearest first."""

    rows: npt.NDArray[np.int64]  # of the reference codes, [N, K]
    distances: npt.NDArray[np.float32]  # [N, K]


def nearest(codes: Codes, reference: Codes, count: int) -> Neighbours:
    """The `count` nearest of `reference` [n, D] to each of `codes` [N, D]; all n if there are fewer. Ties go by row."""
    count = min(count, len(reference))
    rows = np.empty((len(codes), count), dtype=np.int64)
    distances = np.empty((len(codes), count), dtype=np.float32)
    for i, code in enumerate(codes):
        squares = ((reference - code) ** 2).sum(axis=1)
        rows[i] = np.argsort(squares, kind="stable")[:count]
        distances[i] = np.sqrt(squares[rows[i]])
    return Neighbours(rows, distances)
