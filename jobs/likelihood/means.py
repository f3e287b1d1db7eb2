"""Mean likelihood over a set of images, from the parts of a job, with two errors.

- standard error, sd/√N over images: the uncertainty of the population mean. It includes the Monte Carlo error, as each
  image has independent noise.
- Monte Carlo error, √(Σ v_i)/N with the jackknife variances v_i of the estimates: the uncertainty for these images,
  which more samples reduce.

The parts are streamed: only counts, means and sums of squares are kept.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from export.bundle.format import Bundle
from export.runtime.estimates import bound_sizes
from export.runtime.pareto import UNRELIABLE
from export.storage import Folder
from jobs.bulk.commit import part_names
from jobs.discoveries.histogram import Histogram, HistogramCounter
from jobs.discoveries.walk import Counter, Piece, walk
from jobs.likelihood.columns import BOUNDS, ELBO, sample_counts

Array = npt.NDArray[np.float64]

_FIELDS = ("log_px", "variance", "bias", "effective_samples", "setup", "decodes")
_BINS = 4096  # logarithmic bins of effective samples: the median is known to within one bin
_K_EDGES = (UNRELIABLE + 0.002 * np.arange(-1500, 2501)).astype(np.float64)  # of k̂, one of them at the limit


class Moments(NamedTuple):
    """Mean and sum of squared deviations of some columns."""

    rows: int
    mean: Array  # [C]
    square: Array  # Σ (value − mean)², [C]

    @classmethod
    def of(cls, values: Array) -> "Moments":
        """Moments of values [n, C]."""
        mean = values.mean(axis=0) if len(values) else np.zeros(values.shape[1])
        return cls(len(values), mean, np.sum((values - mean) ** 2, axis=0))

    def merge(self, other: "Moments") -> "Moments":
        """Moments of the union (Chan, Golub and LeVeque 1979)."""
        rows = self.rows + other.rows
        if rows == 0:
            return self
        step = other.mean - self.mean
        mean = self.mean + step * (other.rows / rows)
        return Moments(rows, mean, self.square + other.square + step**2 * (self.rows * other.rows / rows))

    @property
    def standard_error(self) -> Array:
        """Standard error of the means, [C]; NaN for a single row."""
        if self.rows < 2:
            return np.full_like(self.mean, np.nan)
        error: Array = np.sqrt(self.square / (self.rows - 1) / self.rows)
        return error


class MomentCounter:
    """Moments of some columns over the rows that have them all; see `jobs.discoveries.walk.Counter`.

    A column of lists counts as one column for each place. With `less`, each column is its difference from that column.
    """

    def __init__(self, names: Sequence[str], places: int = 0, less: str | None = None) -> None:
        """Take the columns' names, the length of the lists in those named `…bounds`, and the column to subtract."""
        self._names, self._places, self._less = tuple(names), places, less
        self.columns = self._names if less is None else (*self._names, less)
        width = sum(places if name.endswith(BOUNDS) else 1 for name in names)
        self.moments = Moments.of(np.empty((0, width)))

    def fresh(self) -> "MomentCounter":
        """For another part."""
        return MomentCounter(self._names, self._places, self._less)

    def add(self, piece: Piece) -> None:
        """Count a piece."""
        rows = piece.rows.select(self.columns).drop_null()
        columns = []
        for name in self._names:
            column = rows.column(name)
            if pa.types.is_list(column.type):
                columns.append(column.flatten().to_numpy().reshape(len(rows), self._places))
            else:
                columns.append(column.to_numpy()[:, None])
        values = np.concatenate(columns, axis=1)
        if self._less is not None:
            values = values - rows.column(self._less).to_numpy()[:, None]
        self.moments = self.moments.merge(Moments.of(values))

    def merge(self, other: "MomentCounter") -> None:
        """Count what `other` has counted."""
        self.moments = self.moments.merge(other.moments)


class Budget(NamedTuple):
    """Estimators, and what they may take."""

    estimators: Sequence[str]
    samples: int
    chains: int


def summarise_likelihood(parts: Folder, bundle: Bundle, budget: Budget) -> dict[str, Any]:
    """What a job says of the likelihoods in its parts: how they were estimated, and `likelihood_metrics`."""
    kind = bundle.manifest["likelihood"]["kind"]
    return {
        "samples": budget.samples,
        "estimators": list(budget.estimators),
        "unit": "nats per image",
        "bound": "all are lower bounds in expectation; bias and monte_carlo_standard_error are jackknife estimates, "
        "too small where effective samples are near one",
        "kind": kind,
        "binarise": bundle.manifest["likelihood"].get("binarise", "none"),
        **likelihood_metrics(
            parts, sample_counts(*budget), budget.samples, math.prod(bundle.shape) if kind == "mass" else None
        ),
    }


def likelihood_metrics(
    parts: Folder, counts: Mapping[str, int], samples: int, dimensions: int | None
) -> dict[str, Any]:
    """Means over all parts, in nats per image, of the estimators that have any, as far as the parts have the columns.

    Args:
        parts: folder of the results; at least one part.
        counts: weights of each estimate, by name of the estimator; see `sample_counts`.
        samples: draws behind an ELBO.
        dimensions: values per image, for bits per dimension; None if the likelihood is not a probability mass.
    """
    columns = _columns(parts)
    elbo = MomentCounter(ELBO if ELBO[0] in columns else ())
    reference = next((name for name in ("refined", "annealed", "importance") if name in counts), None)
    weighted = {name: _Weighted(name, count, reference, columns) for name, count in counts.items()}
    counters: list[Counter] = [elbo] if elbo.columns else []
    for each in weighted.values():
        counters += each.counters
    walk(parts, counters)
    metrics: dict[str, Any] = {}
    if elbo.moments.rows:
        means = _Means(list(ELBO), elbo.moments, dimensions)
        metrics["elbo"] = {
            **means.value("elbo", "elbo_variance"),
            **means.bits("elbo"),
            "decodes": samples,
            "images": elbo.moments.rows,
        }
        metrics["reconstruction"] = means.value("elbo_reconstruction", "elbo_reconstruction_variance")
        metrics["kl"] = means.value("elbo_kl")
    found = {name: each.describe(dimensions) for name, each in weighted.items() if each.moments.rows}
    return metrics | found | {"reference": reference}


def _columns(parts: Folder) -> frozenset[str]:
    with parts.opened(part_names(parts)[0]) as stream:
        return frozenset(pq.read_schema(stream).names)


class _Weighted:
    """The counters of one estimator with weights."""

    def __init__(self, name: str, count: int, reference: str | None, columns: Collection[str]) -> None:
        self._count = count
        self._sizes = bound_sizes(count) if f"{name}_{BOUNDS}" in columns else []
        # In decreasing precision for large K; both ends tolerate rounding.
        edges = np.geomspace(1.0, count, _BINS + 1)
        edges[0], edges[-1] = 0.0, count * 1.001
        self._effective = HistogramCounter(f"{name}_effective_samples", edges)
        self._pareto_k = HistogramCounter(f"{name}_pareto_k", _K_EDGES)
        bounds = [f"{name}_{BOUNDS}"] if self._sizes else []
        self._moments = MomentCounter([*(f"{name}_{field}" for field in _FIELDS), *bounds], len(self._sizes))
        self._gains = {
            over: MomentCounter([f"{name}_log_px"], less=column)
            for over, column in (("elbo", "elbo"), ("importance", "importance_log_px"))
            if name in ("refined", "annealed") and column in columns
        }
        # The bounds on the images that both have, so that a curve does not mix the difference between images in.
        against = f"{reference or name}_log_px"
        self._against = MomentCounter(bounds, len(self._sizes), against)
        self.counters: list[Counter] = [
            self._effective,
            self._pareto_k,
            self._moments,
            *([self._against] if bounds else []),
            *self._gains.values(),
        ]

    @property
    def moments(self) -> Moments:
        return self._moments.moments

    def describe(self, dimensions: int | None) -> dict[str, Any]:
        """The estimator's entry in the metrics."""
        sizes, count = self._sizes, self._count
        means = _Means([*_FIELDS, *(f"{BOUNDS}/{size}" for size in sizes)], self.moments, dimensions)
        k = self._pareto_k.histogram
        setup, decodes = means.mean("setup"), means.mean("decodes")
        gains = {}
        for over, counter in self._gains.items():
            if counter.moments.rows:
                gain = _Means(["gain"], counter.moments, dimensions)
                gains[over] = {**gain.value("gain"), **gain.bits("gain"), "images": counter.moments.rows}
        by_samples = [
            {
                "samples": size,
                "decodes": setup + (decodes - setup) * size / count,
                **means.value(f"{BOUNDS}/{size}"),
                "less_reference": float(less),
            }
            for size, less in zip(sizes, self._against.moments.mean, strict=True)
        ]
        return {
            **means.value("log_px", "variance"),
            **means.bits("log_px"),
            "bias": means.mean("bias"),
            "effective_samples": {
                "mean": means.mean("effective_samples"),
                "median": _median(self._effective.histogram),
            },
            "pareto_k": {
                "median": _median_k(k),
                "share_above_0.7": float((k.counts[k.edges[1:] > UNRELIABLE].sum() + k.above) / k.total),
            }
            if k.total
            else None,
            "decodes": decodes,
            "images": self.moments.rows,
            **({"gain_over": gains} if gains else {}),
            **({"by_samples": by_samples} if by_samples else {}),
        }


class _Means:
    """Means and their errors by name of a column."""

    def __init__(self, names: Sequence[str], moments: Moments, dimensions: int | None) -> None:
        self._index = {name: place for place, name in enumerate(names)}
        self._moments, self._dimensions = moments, dimensions

    def mean(self, name: str) -> float:
        """The mean of a column."""
        return float(self._moments.mean[self._index[name]])

    def value(self, name: str, noise: str | None = None) -> dict[str, Any]:
        """A mean with its errors; `noise` names the column of the estimates' variances."""
        found: dict[str, Any] = {"mean": self.mean(name), "standard_error": self._error(name)}
        if noise is not None:
            found["monte_carlo_standard_error"] = math.sqrt(self.mean(noise) / self._moments.rows)
        return found

    def bits(self, name: str) -> dict[str, Any]:
        """The same in bits per dimension, where these make sense."""
        if self._dimensions is None:
            return {}
        scale = 1.0 / (self._dimensions * math.log(2.0))
        error = self._error(name)
        return {
            "bits_per_dim": {
                "mean": -self.mean(name) * scale,
                "standard_error": None if error is None else error * scale,
            }
        }

    def _error(self, name: str) -> float | None:
        """None for a single image, which has no standard error."""
        error = float(self._moments.standard_error[self._index[name]])
        return error if math.isfinite(error) else None


def _median(histogram: Histogram) -> float:
    """Geometric centre of the bin with the median; for K ≤ 10⁶ bins are narrower than 0.4%."""
    reached = np.cumsum(histogram.counts)
    place = int(np.searchsorted(reached, (histogram.total + 1) // 2))
    low, high = max(1.0, float(histogram.edges[place])), float(histogram.edges[place + 1])
    return math.sqrt(low * high)


def _median_k(histogram: Histogram) -> float:
    """Centre of the bin with the median, 0.002 wide; the ends for what lies beyond."""
    reached = histogram.below + np.cumsum(histogram.counts)
    place = min(int(np.searchsorted(reached, (histogram.total + 1) // 2)), len(histogram.counts) - 1)
    return float(histogram.edges[place] + histogram.edges[place + 1]) / 2
