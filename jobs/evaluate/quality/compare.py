"""Compare sets of described images with a set of real ones, in one space."""

from typing import NamedTuple

from jobs.evaluate.quality.frechet import Floats, Gaussian, Vectors, frechet_distance
from jobs.evaluate.quality.neighbourhoods import Balls, overlap


class Quality(NamedTuple):
    """How close a set of vectors is to that of real images."""

    frechet_distance: float  # at least 0, lower is better
    precision: float  # shares; see `neighbourhoods`
    recall: float
    density: float
    coverage: float


class Reference:
    """Real images, which others are compared with."""

    def __init__(self, vectors: Vectors) -> None:
        """Take vectors [N, D], N > DENSITY_NEIGHBOURS."""
        self._gaussian = Gaussian.of(vectors)
        self._centre: Floats = self._gaussian.mean
        self._balls = Balls.around(vectors, self._centre)

    def quality(self, vectors: Vectors) -> Quality:
        """The quality of vectors [M, D]; M = N, as every figure depends on the numbers of vectors."""
        distance = frechet_distance(Gaussian.of(vectors), self._gaussian)
        return Quality(distance, *overlap(self._balls, Balls.around(vectors, self._centre)))
