"""False discovery rate control over a whole job, where millions of rows are tested at once.

Benjamini and Hochberg (1995): among m p-values, flag those ≤ p*, the largest p with p ≤ q · #{p-values ≤ p} / m.
The expected share of inliers among the flagged rows is at most q (for conformal p-values: Bates et al. 2023).

A conformal p-value is k/(n+1), k = 1…n+1, so counts of these n + 1 values suffice: p* is exact after one pass over the
parts (`jobs.discoveries.walk`), for any number of rows.
"""

import math
from contextlib import closing
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from export.guarantees.p_values import P_VALUE, ranks
from export.storage import Folder
from jobs.bulk.commit import part_names
from jobs.discoveries.top import TopCounter, read_rows
from jobs.discoveries.walk import Piece

MAX_DISCOVERIES = 100_000  # rows written to discoveries.parquet
_ROUNDING = 1e-12  # of rates, which a user gives in decimals

Counts = npt.NDArray[np.int64]
Values = npt.NDArray[np.float64]


class RankCounter:
    """Number of rows with p = k/(n+1), at index k of `counts` [n + 2]; see `jobs.discoveries.walk.Counter`."""

    columns = (P_VALUE,)

    def __init__(self, size: int) -> None:
        """Create with `size` = n, the number of calibration images."""
        self._size = size
        self.counts: Counts = np.zeros(size + 2, dtype=np.int64)

    def fresh(self) -> "RankCounter":
        """A new counter, for another part."""
        return RankCounter(self._size)

    def add(self, piece: Piece) -> None:
        """Count a piece."""
        self.counts += np.bincount(ranks(piece.values(P_VALUE), self._size), minlength=self._size + 2)

    def merge(self, other: "RankCounter") -> None:
        """Add the counts of `other`."""
        self.counts += other.counts


class Level(NamedTuple):
    """Result of the test at a false discovery rate q."""

    p_value: float
    """p*: rows with p-values up to it are flagged, and one has it; 0: none."""
    discoveries: int
    least: int
    """The minimum number of discoveries among m rows: the test flags the R(p) rows with p-values up to p only if
    R(p) ≥ p · m/q, and no p-value is below the smallest, mostly 1/(n+1). So it flags at least ⌈m/(q(n+1))⌉ rows, or
    none."""
    inlier_share: float | None = None
    """The estimate of the share of inliers that the test used, if it used one; may exceed 1."""

    @property
    def is_possible(self) -> bool:
        """Whether an outlying row could have been a discovery.

        False if there are too few calibration images: no discovery was made, and one would have needed more rows with
        the smallest p-value than there are, however outlying they are.
        """
        return self.discoveries > 0 or self.least <= 1


def least_discoveries(rows: int, rate: float, smallest: float) -> int:
    """The minimum number of discoveries among `rows`, if there are any; `smallest` is the smallest possible p-value."""
    return max(1, math.ceil(rows * smallest / rate * (1 - _ROUNDING)))


def benjamini_hochberg(counts: Counts, rate: float, values: Values | None = None, adaptive: bool = False) -> Level:
    """Run the test at false discovery rate `rate`.

    Args:
        counts: counts[i] rows have the p-value values[i].
        rate: q.
        values: in any order; by default conformal p-values, i/(n+1) with n = len(counts) − 2.
        adaptive: divide the rate by Storey's estimate of the share of inliers.
    """
    values = np.arange(len(counts)) / (len(counts) - 1.0) if values is None else values
    ascending = np.argsort(values, kind="stable")
    ascending = ascending[values[ascending] > 0]  # 0 stands at rank 0, which no row has
    p, flagged = (
        values[ascending],
        np.cumsum(counts[ascending]),
    )  # [i]: rows with p-values up to p[i], at the last of each
    rows, share = int(flagged[-1]), storey_share(counts, values) if adaptive else None
    rate = rate if share is None else rate / share
    passing = np.flatnonzero((p * rows <= rate * (1 + _ROUNDING) * flagged) & (counts[ascending] > 0))
    least = least_discoveries(rows, rate, float(p[0]))
    if not passing.size:
        return Level(0.0, 0, least, share)
    last = int(passing[-1])
    return Level(float(p[last]), int(flagged[last]), least, share)


class LeastRate(NamedTuple):
    """The least false discovery rate at which rows with a p-value are flagged, and how many rows are flagged then."""

    rate: float
    discoveries: int


def least_rate(counts: Counts, values: Values, p: float, adaptive: bool = False) -> LeastRate:
    """The least rate at which `benjamini_hochberg` flags rows with p-values up to `p`: min over p' ≥ p of p' m / R(p').

    R(p') is the number of rows with p-values up to p'. The rate may exceed 1.

    Args:
        counts: counts[i] rows have the p-value values[i].
        values: in any order.
        p: one of the values that a row has.
        adaptive: multiply by Storey's estimate of the share of inliers.
    """
    ascending = np.argsort(values, kind="stable")
    ordered, flagged = values[ascending], np.cumsum(counts[ascending])
    rows = int(flagged[-1]) * (storey_share(counts, values) if adaptive else 1.0)
    is_last = np.append(ordered[1:], np.inf) > ordered  # of equal p-values
    candidates = np.flatnonzero(is_last & (ordered >= p * (1 - _ROUNDING)))
    rates = ordered[candidates] * rows / flagged[candidates]
    # The largest of equal rates flags all the others.
    best = int(np.flatnonzero(rates <= rates.min() * (1 + _ROUNDING))[-1])
    return LeastRate(float(rates[best]), int(flagged[candidates[best]]))


def storey_share(counts: Counts, values: Values) -> float:
    """An estimate of the share of inliers among rows, mostly too high: (1 + #{p ≥ λ}) / (m (1 − λ)).

    Storey (2002), with the 1 of Storey, Taylor & Siegmund (2004). λ is the smallest of the p-values that are possible
    from ½ on: for conformal p-values the rate is then proven to hold (Bates et al. 2023; Marandon, Lei, Mary & Roquain
    2024), as it is for independent ones. May exceed 1, where outliers are few.

    Args:
        counts: counts[i] rows have the p-value values[i].
        values: of one calibration set.
    """
    above = values >= 0.5
    share = float(values[above].min())
    return (1 + int(counts[above].sum())) / (int(counts.sum()) * max(1 - share, _ROUNDING))


def gather_discoveries(scores: Folder, top: TopCounter, level: Level) -> pa.Table:
    """The flagged rows with all columns, the most outlying first, at most `MAX_DISCOVERIES`.

    p is a non-increasing function of the score, so the flagged rows are the most outlying ones. Only parts that contain
    them are read, and memory is bounded by `MAX_DISCOVERIES` rows.

    Args:
        scores: the parts of the job, at least one.
        top: counter of at least `MAX_DISCOVERIES` rows.
        level: result of the test.
    """
    places = top.places(min(level.discoveries, MAX_DISCOVERIES))
    if places:
        return read_rows(scores, places).combine_chunks()
    with closing(scores.row_groups(part_names(scores)[0])) as groups:
        return next(groups).slice(0, 0).replace_schema_metadata(None)
