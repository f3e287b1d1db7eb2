"""Columns of a job's scores in memory: all rows, or a uniform random sample of a million."""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from jobs.discoveries.walk import Piece

MAX_ROWS = 1_000_000

Columns = Mapping[str, npt.NDArray[np.float32]]


class SampleCounter:
    """A random sample of rows of some float columns, in the order of the parts; see `jobs.discoveries.walk.Counter`.

    Each row draws a uniform number, and the `limit` rows with the smallest are kept: those below a ceiling that falls
    as more rows are seen. The sample depends only on the seed and the parts.
    """

    def __init__(self, columns: Sequence[str], seed: int, limit: int = MAX_ROWS) -> None:
        self.columns = tuple(columns)
        self._seed, self._limit = seed, limit
        self._rng: np.random.Generator | None = None  # one per part
        self._drawn = [np.empty(0)]
        self._values = {column: [np.empty(0, np.float32)] for column in columns}
        self._waiting = 0  # rows in these lists
        self._ceiling = 1.0

    @property
    def sample(self) -> Columns:
        """The columns, at most `limit` rows."""
        self._settle()
        return {column: values for column, (values,) in self._values.items()}

    def fresh(self) -> "SampleCounter":
        """A counter for another part, starting with the current ceiling."""
        other = SampleCounter(self.columns, self._seed, self._limit)
        other._ceiling = self._ceiling
        return other

    def add(self, piece: Piece) -> None:
        """Sample a piece."""
        if self._rng is None:
            self._rng = np.random.default_rng([self._seed, piece.unit])
        drawn = self._rng.random(len(piece.rows))
        chosen = np.flatnonzero(drawn <= self._ceiling)
        self._keep(drawn[chosen], {column: piece.values(column)[chosen] for column in self.columns})

    def merge(self, other: "SampleCounter") -> None:
        """Add the rows that `other` has kept."""
        for i, drawn in enumerate(other._drawn):
            self._keep(drawn, {column: values[i] for column, values in other._values.items()})

    def _keep(self, drawn: npt.NDArray[np.float64], values: Columns) -> None:
        self._drawn.append(drawn)
        for column in self.columns:
            self._values[column].append(values[column])
        self._waiting += len(drawn)
        if self._waiting > 2 * self._limit:
            self._settle()

    def _settle(self) -> None:
        """Lower the ceiling so that `limit` rows remain, and drop the rest."""
        drawn = np.concatenate(self._drawn)
        if len(drawn) > self._limit:
            self._ceiling = float(np.partition(drawn, self._limit - 1)[self._limit - 1])
        kept = drawn <= self._ceiling
        self._drawn, self._waiting = [drawn[kept]], int(kept.sum())
        for column, values in self._values.items():
            self._values[column] = [np.concatenate(values)[kept]]
