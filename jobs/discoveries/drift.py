"""Drift: how a data set as a whole differs from the calibration images.

For outlier_score and every statistic, the two-sample distance of Kolmogorov and Smirnov,

    D = sup_x |F(x) − G(x)|,   F the distribution over the n calibration images, G over the m scored ones:

the largest share of images by which the one set lies beyond some value more than the other. If both came from the
same distribution, P(D ≥ d) → Q(λ) = 2 Σ_k (−1)^(k−1) exp(−2 k² λ²) with λ = (√e + 0.12 + 0.11/√e) d, e = nm/(n + m)
(Smirnov 1948; the finite-size terms: Stephens 1970). On ties it is conservative. A conformal p-value is a step
function of the score's place among the calibration scores, so D of outlier_score is the distance of the p-values from
uniformity too; as all p-values share their calibration images, they scatter about it by 1/√n more than independent
ones, for which e accounts.

G comes from counters between the calibration values of each statistic, at most `EDGES` of them, evenly over the ranks:
D is exact for up to so many calibration images, and at most 1/`EDGES` too small beyond. Counters of parts add up, so
one pass (`jobs.discoveries.walk`) is enough, whatever the number of rows, and nothing but counters stays.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from jobs.discoveries.walk import Piece

EDGES = 2048
SIGNIFICANT = 0.01
"""A p-value below it, corrected for the number of statistics, is taken for a difference."""
CLEAR = 0.1
"""From this D on, a difference is called clear. With many images the smallest difference is significant; this one is
about that of two normal distributions a quarter of their standard deviation apart."""
LEVELS = (0.01, 0.05, 0.1, 0.5)

Values = npt.NDArray[np.float32]
Counts = npt.NDArray[np.int64]
Direction = Literal["higher", "lower", "wider", "narrower", "the same"]
Verdict = Literal["like the calibration images", "slightly different", "clearly different"]


class Difference(NamedTuple):
    """One statistic of a data set against that of the calibration images."""

    statistic: str
    distance: float
    """D, from 0 (equal) to 1 (apart)."""
    p_value: float
    """Of D, corrected for the number of statistics by the procedure of Holm (1979)."""
    direction: Direction
    """Of the data set's values, compared with the calibration images'."""
    at: float
    """The value at which the distributions are furthest apart."""
    share_above: float
    """Of the data set, beyond that value."""
    calibration_share_above: float


class Share(NamedTuple):
    """How many p-values are small, and how many would be if they were uniform."""

    at_most: float
    share: float
    expected: float


class Drift(NamedTuple):
    """A data set as a whole against the calibration images."""

    verdict: Verdict
    differences: list[Difference]
    """Of outlier_score and each statistic, the largest first."""
    p_values: list[Share]

    def to_json(self) -> dict[str, Any]:
        """For summary.json."""
        return {
            "verdict": self.verdict,
            "statistics": [each._asdict() for each in self.differences],
            "p_values": [each._asdict() for each in self.p_values],
        }


def measure_drift(counted: Mapping[str, Counts], calibration: pa.Table, ranks: Counts) -> Drift:
    """Compare the scored rows with the calibration images.

    Args:
        counted: of at least one row, the counters between the `calibration_edges`.
        calibration: the bundle's calibration table.
        ranks: how many rows have p = k/(n+1), at index k.
    """
    edges = calibration_edges(calibration)
    known = {name: count(each, calibration[name].to_numpy()) for name, each in edges.items()}
    differences = [difference(name, edges[name], known[name], counted[name]) for name in edges]
    corrected = holm([each.p_value for each in differences])
    differences = [each._replace(p_value=p) for each, p in zip(differences, corrected, strict=True)]
    differences.sort(key=lambda each: -each.distance)
    return Drift(judge(differences), differences, small_p_values(ranks))


def calibration_edges(calibration: pa.Table) -> dict[str, Values]:
    """The values between which outlier_score and each statistic is counted; what is not finite cannot be compared."""
    names = [field.name for field in calibration.schema if pa.types.is_floating(field.type)]
    return {name: edges_of(values) for name in names if np.isfinite(values := calibration[name].to_numpy()).all()}


class StatisticCounter:
    """Where outlier_score and the statistics lie between their edges; see `jobs.discoveries.walk.Counter`."""

    def __init__(self, edges: Mapping[str, Values]) -> None:
        """Take the `calibration_edges`."""
        self._edges = edges
        self.columns = tuple(edges)
        self.counts = {name: np.zeros(2 * len(each) + 1, np.int64) for name, each in edges.items()}

    def fresh(self) -> "StatisticCounter":
        """For another part."""
        return StatisticCounter(self._edges)

    def add(self, piece: Piece) -> None:
        """Count a piece."""
        for name, edges in self._edges.items():
            self.counts[name] += count(edges, piece.values(name))

    def merge(self, other: "StatisticCounter") -> None:
        """Count what `other` has counted."""
        for name, counts in other.counts.items():
            self.counts[name] += counts


def edges_of(calibration: Values) -> Values:
    """The calibration values [n] between which values are counted: all of them, or `EDGES` evenly over their ranks."""
    chosen = np.linspace(0, len(calibration) - 1, min(len(calibration), EDGES)).round().astype(np.int64)
    edges: Values = np.unique(np.sort(calibration)[chosen])
    return edges


def count(edges: Values, values: Values) -> Counts:
    """How many of `values` lie below the first of E edges, at it, between it and the second, at that, …: [2E + 1].

    A value that is no number counts as above all.
    """
    ordered = np.sort(values)  # many values and few edges: sorting is faster than a search for every value
    below, up_to = np.searchsorted(ordered, edges, side="left"), np.searchsorted(ordered, edges, side="right")
    return np.diff(np.stack([below, up_to], axis=1).ravel(), prepend=0, append=len(values))


def difference(statistic: str, edges: Values, known: Counts, counted: Counts) -> Difference:
    """Compare two sets of values by their counters; the p-value is not yet corrected.

    Args:
        statistic: its name.
        edges: E of them.
        known: counters of the calibration images, [2E + 1].
        counted: counters of the data set, [2E + 1].
    """
    n, m = int(known.sum()), int(counted.sum())
    # After cell 2i: the share below edge i. After cell 2i + 1: below it or at it.
    below_known, below = np.cumsum(known)[:-1], np.cumsum(counted)[:-1]
    f, g = below_known / n, below / m
    higher, lower = int(np.argmax(f - g)), int(np.argmax(g - f))
    up, down = float((f - g)[higher]), float((g - f)[lower])
    furthest = higher if up >= down else lower
    distance = max(up, down, 0.0)
    return Difference(
        statistic,
        distance,
        kolmogorov(distance, n, m),
        _direction(up, down, higher, lower),
        float(edges[furthest // 2]),
        (m - int(below[furthest])) / m,
        (n - int(below_known[furthest])) / n,
    )


def _direction(up: float, down: float, higher: int, lower: int) -> Direction:
    """In words, from the largest excess of each side and its place."""
    if max(up, down) <= 0:
        return "the same"
    if min(up, down) < max(up, down) / 2:
        return "higher" if up > down else "lower"
    return "wider" if lower < higher else "narrower"


def kolmogorov(distance: float, n: int, m: int) -> float:
    """P(D ≥ `distance`) for two samples of sizes n and m from one distribution, asymptotically."""
    root = math.sqrt(n * m / (n + m))
    x = (root + 0.12 + 0.11 / root) * distance
    if x < 0.2:
        return 1.0  # to 12 digits, where the alternating series no longer converges
    terms = ((-1) ** (k - 1) * math.exp(-2 * k * k * x * x) for k in range(1, 101))
    return min(1.0, max(0.0, 2 * math.fsum(terms)))


def holm(p_values: Sequence[float]) -> list[float]:
    """Correct p-values so that the chance of any false alarm among them stays below the level (Holm 1979)."""
    corrected = [0.0] * len(p_values)
    largest = 0.0
    for done, i in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (len(p_values) - done) * p_values[i]))
        corrected[i] = largest
    return corrected


def judge(differences: Sequence[Difference]) -> Verdict:
    """In words: whether any statistic differs by more than chance, and if so, whether by much."""
    found = [each.distance for each in differences if each.p_value < SIGNIFICANT]
    if not found:
        return "like the calibration images"
    return "clearly different" if max(found) >= CLEAR else "slightly different"


def small_p_values(ranks: Counts) -> list[Share]:
    """The shares of p-values up to each of `LEVELS` that n calibration images can tell."""
    size, rows = len(ranks) - 2, int(ranks.sum())
    steps = {level: math.floor(level * (size + 1) * (1 + 1e-12)) for level in LEVELS}
    return [Share(level, int(ranks[: k + 1].sum()) / rows, k / (size + 1)) for level, k in steps.items() if k > 0]
