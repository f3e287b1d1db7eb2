"""Drift: how a data set as a whole differs from the calibration images.

For outlier_score and every statistic, the two-sample Kolmogorov–Smirnov distance,

    D = sup_x |F(x) − G(x)|,   F the distribution function of the n calibration images, G of the m scored ones.

Under the null hypothesis of one common distribution, P(D ≥ d) → Q(λ) = 2 Σ_k (−1)^(k−1) exp(−2 k² λ²) with
λ = (√e + 0.12 + 0.11/√e) d, e = nm/(n + m) (Smirnov 1948; finite-size terms: Stephens 1970); conservative with ties.
A conformal p-value is a step function of the score's rank among the calibration scores, so the D of outlier_score is
also the distance of the p-values from uniformity; as all p-values share the calibration images, they deviate from it by
1/√n more than independent ones, which e accounts for.

G is counted in cells between the calibration values of each statistic, at most `EDGES`, evenly spaced by rank: D is
exact for up to `EDGES` calibration images, and at most 1/`EDGES` too small beyond. Counts of parts add up, so one pass
(`jobs.discoveries.walk`) suffices for any number of rows.
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
"""Differences with a smaller p-value, corrected for the number of statistics, are significant."""
CLEAR = 0.1
"""Significant differences with at least this D are called clear, as with many images the smallest difference is
significant. Two normal distributions a quarter of a standard deviation apart have this D."""
LEVELS = (0.01, 0.05, 0.1, 0.5)

Values = npt.NDArray[np.float32]
Counts = npt.NDArray[np.int64]
Direction = Literal["higher", "lower", "wider", "narrower", "the same"]
Verdict = Literal["like the calibration images", "slightly different", "clearly different"]


class Difference(NamedTuple):
    """Comparison of one statistic between a data set and the calibration images."""

    statistic: str
    distance: float
    """D, from 0 (equal) to 1 (no overlap)."""
    p_value: float
    """Of D, Holm-corrected (1979) for the number of statistics."""
    direction: Direction
    """Of the data set relative to the calibration images."""
    at: float
    """The value at which the distribution functions differ most."""
    share_above: float
    """Share of the data set above that value."""
    calibration_share_above: float


class Share(NamedTuple):
    """The share of small p-values, and the share expected if they were uniform."""

    at_most: float
    share: float
    expected: float


class Drift(NamedTuple):
    """Comparison of a whole data set with the calibration images."""

    verdict: Verdict
    differences: list[Difference]
    """For outlier_score and each statistic, the largest first."""
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
        counted: counts of at least one row between the `calibration_edges`.
        calibration: the bundle's calibration table.
        ranks: ranks[k] rows have p = k/(n+1).
    """
    edges = calibration_edges(calibration)
    reference = {name: count(each, calibration[name].to_numpy()) for name, each in edges.items()}
    differences = [difference(name, edges[name], reference[name], counted[name]) for name in edges]
    corrected = holm([each.p_value for each in differences])
    differences = [each._replace(p_value=p) for each, p in zip(differences, corrected, strict=True)]
    differences.sort(key=lambda each: -each.distance)
    return Drift(overall_verdict(differences), differences, small_p_values(ranks))


def calibration_edges(calibration: pa.Table) -> dict[str, Values]:
    """The edges of the cells of outlier_score and each statistic; those with non-finite values are omitted."""
    names = [field.name for field in calibration.schema if pa.types.is_floating(field.type)]
    return {name: edges_of(values) for name in names if np.isfinite(values := calibration[name].to_numpy()).all()}


class StatisticCounter:
    """Counts of outlier_score and the statistics between their edges; see `jobs.discoveries.walk.Counter`."""

    def __init__(self, edges: Mapping[str, Values]) -> None:
        """Create with the `calibration_edges`."""
        self._edges = edges
        self.columns = tuple(edges)
        self.counts = {name: np.zeros(2 * len(each) + 1, np.int64) for name, each in edges.items()}

    def fresh(self) -> "StatisticCounter":
        """A new counter, for another part."""
        return StatisticCounter(self._edges)

    def add(self, piece: Piece) -> None:
        """Count a piece."""
        for name, edges in self._edges.items():
            self.counts[name] += count(edges, piece.values(name))

    def merge(self, other: "StatisticCounter") -> None:
        """Add the counts of `other`."""
        for name, counts in other.counts.items():
            self.counts[name] += counts


def edges_of(calibration: Values) -> Values:
    """Cell edges from calibration values [n]: all of them, or `EDGES` evenly spaced by rank."""
    chosen = np.linspace(0, len(calibration) - 1, min(len(calibration), EDGES)).round().astype(np.int64)
    edges: Values = np.unique(np.sort(calibration)[chosen])
    return edges


def count(edges: Values, values: Values) -> Counts:
    """Number of `values` below the first of E edges, equal to it, between it and the second, equal to that …: [2E + 1].

    NaN counts as above all edges.
    """
    ordered = np.sort(values)  # with many values and few edges, sorting is faster than a search per value
    below, up_to = np.searchsorted(ordered, edges, side="left"), np.searchsorted(ordered, edges, side="right")
    return np.diff(np.stack([below, up_to], axis=1).ravel(), prepend=0, append=len(values))


def difference(statistic: str, edges: Values, reference: Counts, counted: Counts) -> Difference:
    """Compare two sets of values by their counts; the p-value is uncorrected.

    Args:
        statistic: its name.
        edges: E edges.
        reference: counts of the calibration images, [2E + 1].
        counted: counts of the data set, [2E + 1].
    """
    n, m = int(reference.sum()), int(counted.sum())
    # After cell 2i: values below edge i. After cell 2i + 1: values ≤ edge i.
    below_reference, below = np.cumsum(reference)[:-1], np.cumsum(counted)[:-1]
    f, g = below_reference / n, below / m
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
        (n - int(below_reference[furthest])) / n,
    )


def _direction(up: float, down: float, higher: int, lower: int) -> Direction:
    """The direction, from the largest excess of each side and its position."""
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
        return 1.0  # to 12 digits; the alternating series does not converge here
    terms = ((-1) ** (k - 1) * math.exp(-2 * k * k * x * x) for k in range(1, 101))
    return min(1.0, max(0.0, 2 * math.fsum(terms)))


def holm(p_values: Sequence[float]) -> list[float]:
    """Correct p-values for multiple testing, controlling the family-wise error rate (Holm 1979)."""
    corrected = [0.0] * len(p_values)
    largest = 0.0
    for done, i in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (len(p_values) - done) * p_values[i]))
        corrected[i] = largest
    return corrected


def overall_verdict(differences: Sequence[Difference]) -> Verdict:
    """Whether any statistic differs significantly, and whether the difference is large."""
    significant = [each.distance for each in differences if each.p_value < SIGNIFICANT]
    if not significant:
        return "like the calibration images"
    return "clearly different" if max(significant) >= CLEAR else "slightly different"


def small_p_values(ranks: Counts) -> list[Share]:
    """The share of p-values up to each of `LEVELS` that n calibration images can resolve."""
    size, rows = len(ranks) - 2, int(ranks.sum())
    steps = {level: math.floor(level * (size + 1) * (1 + 1e-12)) for level in LEVELS}
    return [Share(level, int(ranks[: k + 1].sum()) / rows, k / (size + 1)) for level, k in steps.items() if k > 0]
