"""Precision, recall, density and coverage of samples, from balls around feature vectors.

The radius of a ball B_k(x) around a vector is the distance of its k-th nearest neighbour in its own set: the balls of a
set estimate where its distribution lies. With real vectors X_i, i ≤ N, and samples Y_j, j ≤ M:

- precision: the share of samples in a ball of a real vector; recall: the share of real vectors in a ball of a sample
  (Kynkäänniemi et al. 2019, k = 3)
- density = 1/(kM) Σ_j Σ_i [Y_j ∈ B_k(X_i)]; coverage = 1/N Σ_i [some Y_j ∈ B_k(X_i)] (Naeem et al. 2020, k = 5), which
  a single outlier in either set cannot inflate
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Vectors = npt.NDArray[np.floating]

PRECISION_NEIGHBOURS, DENSITY_NEIGHBOURS = 3, 5
_ROWS, _COLUMNS = 1024, 8192  # distances in memory at once: 64 MiB
# Vectors at a ball's very surface, such as copies of its centre's neighbours, lie in it, however distances are rounded.
_RELATIVE_SLACK, _ABSOLUTE_SLACK = 1e-9, 1e-12


class Overlap(NamedTuple):
    """How far two sets of vectors lie where the other does."""

    precision: float
    recall: float
    density: float  # about 1 for two sets of one distribution; larger where samples crowd near the modes
    coverage: float


class Balls(NamedTuple):
    """A set of vectors with the squared radii of their balls."""

    vectors: Vectors  # [N, D]
    centre: Floats  # [D], which distances are computed relative to, as they are differences of large numbers otherwise
    precision: Floats  # of radius to neighbour PRECISION_NEIGHBOURS, [N]
    density: Floats  # of radius to neighbour DENSITY_NEIGHBOURS, [N]

    @classmethod
    def around(cls, vectors: Vectors, centre: Floats) -> "Balls":
        """The balls around each of vectors [N, D]; N > DENSITY_NEIGHBOURS.

        Memory: a block of distances, whatever N is.
        """
        nearest = np.empty((len(vectors), DENSITY_NEIGHBOURS))
        for rows in _slices(len(vectors), _ROWS):
            here = _centred(vectors[rows], centre)
            found = np.full((len(here), DENSITY_NEIGHBOURS), np.inf)
            for columns in _slices(len(vectors), _COLUMNS):
                squares = _squared_distances(here, _centred(vectors[columns], centre))
                own = np.arange(rows.start, rows.stop)
                inside = (own >= columns.start) & (own < columns.stop)
                squares[np.flatnonzero(inside), own[inside] - columns.start] = np.inf  # no neighbour of itself
                both = np.concatenate([found, squares], axis=1)
                found = np.partition(both, DENSITY_NEIGHBOURS - 1, axis=1)[:, :DENSITY_NEIGHBOURS]
            nearest[rows] = np.sort(found, axis=1)
        slack = _ABSOLUTE_SLACK * float(((vectors - centre) ** 2).sum(axis=1).mean())
        radii = nearest * (1.0 + _RELATIVE_SLACK) + slack
        return cls(vectors, centre, radii[:, PRECISION_NEIGHBOURS - 1], radii[:, DENSITY_NEIGHBOURS - 1])


def overlap(real: Balls, samples: Balls) -> Overlap:
    """Precision, recall, density and coverage of samples beside real vectors; both have the same centre."""
    precise = np.zeros(len(samples.vectors), np.bool_)
    recalled, covered = np.zeros((2, len(real.vectors)), np.bool_)
    within = 0  # pairs of a sample and a real ball around it
    for rows in _slices(len(samples.vectors), _ROWS):
        here = _centred(samples.vectors[rows], samples.centre)
        for columns in _slices(len(real.vectors), _COLUMNS):
            squares = _squared_distances(here, _centred(real.vectors[columns], real.centre))
            precise[rows] |= (squares <= real.precision[columns]).any(axis=1)
            recalled[columns] |= (squares <= samples.precision[rows, None]).any(axis=0)
            dense = squares <= real.density[columns]
            covered[columns] |= dense.any(axis=0)
            within += int(np.count_nonzero(dense))
    return Overlap(
        float(precise.mean()),
        float(recalled.mean()),
        within / (DENSITY_NEIGHBOURS * len(samples.vectors)),
        float(covered.mean()),
    )


def _slices(size: int, step: int) -> list[slice]:
    return [slice(start, min(start + step, size)) for start in range(0, size, step)]


def _centred(vectors: Vectors, centre: Floats) -> Floats:
    centred: Floats = vectors - centre
    return centred


def _squared_distances(a: Floats, b: Floats) -> Floats:
    """‖a_i − b_j‖² of [n, D] and [m, D]: [n, m]."""
    squares: Floats = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1) - 2.0 * (a @ b.T)
    np.maximum(squares, 0.0, out=squares)
    return squares
