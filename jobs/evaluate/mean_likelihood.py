"""Mean likelihood over a set of images, from the parts of a `LikelihoodTask`, with two errors.

- standard error, sd/√N over images: the uncertainty of the population mean. It includes the Monte Carlo error, as each
  image has independent noise.
- Monte Carlo error, √(Σ v_i)/N with the jackknife variances v_i of the estimates: the uncertainty for these images,
  which more samples reduce.

The parts are streamed: only counts, means and sums of squares are kept.
"""

import math
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from export.runtime.estimates import bound_sizes
from export.storage import Folder
from jobs.discoveries.histogram import Histogram, HistogramCounter
from jobs.discoveries.walk import Piece, walk
from jobs.evaluate.task import BOUNDS, ESTIMATORS, SCHEMA

Array = npt.NDArray[np.float64]

_BINS = 4096  # logarithmic bins of effective samples: the median is known to within one bin


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


def likelihood_metrics(parts: Folder, samples: int, dimensions: int | None) -> dict[str, Any]:
    """Means over all parts, in nats per image.

    Args:
        parts: folder of the results; at least one part.
        samples: K of the task.
        dimensions: values per image, for bits per dimension; None if the likelihood is not a probability mass.
    """
    edges = np.geomspace(1.0, samples, _BINS + 1)
    edges[0], edges[-1] = 0.0, samples * 1.001  # tolerate rounding at both ends
    moments = MomentCounter(samples)
    effective = [HistogramCounter(f"{estimator}_effective_samples", edges) for estimator in ESTIMATORS]
    walk(parts, [moments, *effective])
    return _describe(_names(samples), moments.moments, [each.histogram for each in effective], samples, dimensions)


class MomentCounter:
    """Moments of all numeric columns; see `jobs.discoveries.walk.Counter`."""

    columns = tuple(SCHEMA.names)

    def __init__(self, samples: int) -> None:
        """Take K of the task."""
        self._samples = samples
        self.moments = Moments.of(np.empty((0, len(_names(samples)))))

    def fresh(self) -> "MomentCounter":
        """For another part."""
        return MomentCounter(self._samples)

    def add(self, piece: Piece) -> None:
        """Count a piece."""
        self.moments = self.moments.merge(Moments.of(_matrix(piece.rows, self._samples)))

    def merge(self, other: "MomentCounter") -> None:
        """Count what `other` has counted."""
        self.moments = self.moments.merge(other.moments)


def _names(samples: int) -> list[str]:
    """Names of the numeric columns; a column of bounds becomes one per number of samples."""
    names = []
    for field in SCHEMA:
        if pa.types.is_list(field.type):
            names += [f"{field.name}/{size}" for size in bound_sizes(samples)]
        elif pa.types.is_floating(field.type):
            names.append(field.name)
    return names


def _matrix(rows: pa.RecordBatch, samples: int) -> Array:
    """Values of the columns of `_names`, [n, C]."""
    columns = []
    for field in SCHEMA:
        column = rows.column(field.name)
        if pa.types.is_list(field.type):
            columns.append(column.flatten().to_numpy().reshape(len(rows), len(bound_sizes(samples))))
        elif pa.types.is_floating(field.type):
            columns.append(column.to_numpy()[:, None])
    return np.concatenate(columns, axis=1)


def _describe(
    names: list[str], moments: Moments, effective: list[Histogram], samples: int, dimensions: int | None
) -> dict[str, Any]:
    index = {name: place for place, name in enumerate(names)}
    errors = moments.standard_error

    def value(name: str, noise: str | None = None) -> dict[str, Any]:
        """A mean with its errors; `noise` names the column of the estimates' variances."""
        found: dict[str, Any] = {
            "mean": float(moments.mean[index[name]]),
            "standard_error": _finite(errors[index[name]]),
        }
        if noise is not None:
            found["monte_carlo_standard_error"] = math.sqrt(float(moments.mean[index[noise]]) / moments.rows)
        return found

    def bits(found: dict[str, Any]) -> dict[str, Any]:
        if dimensions is None:
            return {}
        scale = 1.0 / (dimensions * math.log(2.0))
        error = found["standard_error"]
        return {
            "bits_per_dim": {
                "mean": -found["mean"] * scale,
                "standard_error": None if error is None else error * scale,
            }
        }

    elbo = value("elbo", "elbo_variance")
    metrics: dict[str, Any] = {
        "elbo": elbo | bits(elbo),
        "reconstruction": value("reconstruction", "reconstruction_variance"),
        "kl": value("kl"),
    }
    for estimator, histogram in zip(ESTIMATORS, effective, strict=True):
        log_px = value(f"{estimator}_log_px", f"{estimator}_variance")
        metrics[estimator] = {
            **log_px,
            **bits(log_px),
            "bias": float(moments.mean[index[f"{estimator}_bias"]]),
            "effective_samples": {
                "mean": float(moments.mean[index[f"{estimator}_effective_samples"]]),
                "median": _median(histogram),
            },
            "by_samples": [{"samples": size, **value(f"{estimator}_{BOUNDS}/{size}")} for size in bound_sizes(samples)],
        }
    return metrics


def _median(histogram: Histogram) -> float:
    """Geometric centre of the bin with the median; for K ≤ 10⁶ bins are narrower than 0.4%."""
    reached = np.cumsum(histogram.counts)
    place = int(np.searchsorted(reached, (histogram.total + 1) // 2))
    low, high = max(1.0, float(histogram.edges[place])), float(histogram.edges[place + 1])
    return math.sqrt(low * high)


def _finite(number: float) -> float | None:
    """None for NaN, which JSON does not have: a single image has no standard error."""
    return float(number) if math.isfinite(number) else None
