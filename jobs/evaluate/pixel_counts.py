"""Pixel counts as rows of a table, one for each unit: only the levels that occur."""

from typing import ClassVar

import numpy as np
import pyarrow as pa

from jobs.discoveries.walk import Piece
from jobs.evaluate.localisation import LEVELS, PixelCounts

_NUMBERS = ("images", "defects", "regions")
SCHEMA = pa.schema(
    [
        *((name, pa.int64()) for name in _NUMBERS),
        ("level", pa.list_(pa.int32())),
        ("normal", pa.list_(pa.int64())),
        ("defective", pa.list_(pa.int64())),
        ("overlap", pa.list_(pa.float64())),
    ]
)


def counts_table(counts: PixelCounts) -> pa.Table:
    """One row."""
    used = np.flatnonzero(counts.normal + counts.defective)
    row = {name: getattr(counts, name) for name in _NUMBERS} | {"level": used.tolist()}
    row |= {name: getattr(counts, name)[used].tolist() for name in ("normal", "defective", "overlap")}
    return pa.Table.from_pylist([row], SCHEMA)


class PixelCounter:
    """The sum of the `counts` of all rows; see `jobs.discoveries.walk.Counter`."""

    columns: ClassVar[tuple[str, ...]] = tuple(SCHEMA.names)

    def __init__(self) -> None:
        self.counts = PixelCounts()

    def fresh(self) -> "PixelCounter":
        """A new counter, for another part."""
        return PixelCounter()

    def add(self, piece: Piece) -> None:
        """Count a piece."""
        for name in _NUMBERS:
            setattr(self.counts, name, getattr(self.counts, name) + int(piece.values(name).sum()))
        level = piece.rows.column("level").flatten().to_numpy()
        for name in ("normal", "defective", "overlap"):
            found = piece.rows.column(name).flatten().to_numpy()
            array = getattr(self.counts, name)
            assert array.shape == (LEVELS,)
            np.add.at(array, level, found)

    def merge(self, other: "PixelCounter") -> None:
        """Add the counts of `other`."""
        self.counts.merge(other.counts)
