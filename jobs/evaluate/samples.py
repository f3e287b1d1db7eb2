"""Columns of a job's scores in memory: of all rows, or of a million of them drawn at random, each as likely as any."""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from jobs.discoveries.walk import Piece

MOST_ROWS = 1_000_000

Columns = Mapping[str, npt.NDArray[np.float32]]


class SampleCounter:
    """The values of float columns at the same rows, in the order of the parts; see `jobs.discoveries.walk.Counter`.

    Every row draws a number from (0, 1), and the `most` rows with the smallest are kept: those at or below a ceiling,
    which falls as more rows are seen. Which rows these are depends on the seed and the parts alone.
    """

    def __init__(self, columns: Sequence[str], seed: int, most: int = MOST_ROWS) -> None:
        self.columns = tuple(columns)
        self._seed, self._most = seed, most
        self._rng: np.random.Generator | None = None  # of one part
        self._drawn = [np.empty(0)]
        self._values = {column: [np.empty(0, np.float32)] for column in columns}
        self._waiting = 0  # rows among them
        self._ceiling = 1.0

    @property
    def sample(self) -> Columns:
        """The columns, each of at most `most` rows."""
        self._settle()
        return {column: values for column, (values,) in self._values.items()}

    def fresh(self) -> "SampleCounter":
        """For another part, whose rows must pass the ceiling that holds now."""
        other = SampleCounter(self.columns, self._seed, self._most)
        other._ceiling = self._ceiling
        return other

    def add(self, piece: Piece) -> None:
        """Draw from a piece."""
        if self._rng is None:
            self._rng = np.random.default_rng([self._seed, piece.unit])
        drawn = self._rng.random(len(piece.rows))
        chosen = np.flatnonzero(drawn <= self._ceiling)
        self._keep(drawn[chosen], {column: piece.values(column)[chosen] for column in self.columns})

    def merge(self, other: "SampleCounter") -> None:
        """Draw from what `other` has drawn."""
        for i, drawn in enumerate(other._drawn):
            self._keep(drawn, {column: values[i] for column, values in other._values.items()})

    def _keep(self, drawn: npt.NDArray[np.float64], values: Columns) -> None:
        self._drawn.append(drawn)
        for column in self.columns:
            self._values[column].append(values[column])
        self._waiting += len(drawn)
        if self._waiting > 2 * self._most:
            self._settle()

    def _settle(self) -> None:
        """Drop what is above the ceiling, once this is where it leaves `most` rows."""
        drawn = np.concatenate(self._drawn)
        if len(drawn) > self._most:
            self._ceiling = float(np.partition(drawn, self._most - 1)[self._most - 1])
        kept = drawn <= self._ceiling
        self._drawn, self._waiting = [drawn[kept]], int(kept.sum())
        for column, values in self._values.items():
            self._values[column] = [np.concatenate(values)[kept]]
