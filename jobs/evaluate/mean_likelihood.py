"""The mean likelihood over a set of images, from the parts of a `LikelihoodTask`, with two errors.

- the standard error, sd/√N over the images: how far the mean over all images that might have been drawn may lie. The
  noise of the estimates is part of their spread, since every image has noise of its own.
- of it, the part that is the estimates' own noise, √(Σ v_i)/N with the variances v_i that the jackknife tells: what is
  left for the very images that were drawn, and what more samples would lessen.

Parts are read once and forgotten: only counts, means and sums of squares are kept.
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

_BINS = 4096  # of effective samples, of equal ratio: the median is known to within one


class Moments(NamedTuple):
    """Mean and spread of some columns."""

    rows: int
    mean: Array  # [C]
    square: Array  # Σ (value − mean)², [C]

    @classmethod
    def of(cls, values: Array) -> "Moments":
        """Of values [n, C]."""
        mean = values.mean(axis=0) if len(values) else np.zeros(values.shape[1])
        return cls(len(values), mean, np.sum((values - mean) ** 2, axis=0))

    def merge(self, other: "Moments") -> "Moments":
        """Both together (Chan, Golub and LeVeque 1979)."""
        rows = self.rows + other.rows
        if rows == 0:
            return self
        step = other.mean - self.mean
        mean = self.mean + step * (other.rows / rows)
        return Moments(rows, mean, self.square + other.square + step**2 * (self.rows * other.rows / rows))

    @property
    def standard_error(self) -> Array:
        """Of the means, [C]; NaN of a single row."""
        if self.rows < 2:
            return np.full_like(self.mean, np.nan)
        error: Array = np.sqrt(self.square / (self.rows - 1) / self.rows)
        return error


def likelihood_metrics(parts: Folder, samples: int, dimensions: int | None) -> dict[str, Any]:
    """The means over all parts, in nats per image.

    Args:
        parts: the folder of the results, one at least.
        samples: K of the task.
        dimensions: numbers in an image, for bits per dimension; None if the likelihood is no mass.
    """
    edges = np.geomspace(1.0, samples, _BINS + 1)
    edges[0], edges[-1] = 0.0, samples * 1.001  # rounding does not push anything out
    moments = MomentCounter(samples)
    effective = [HistogramCounter(f"{estimator}_effective_samples", edges) for estimator in ESTIMATORS]
    walk(parts, [moments, *effective])
    return _describe(_names(samples), moments.moments, [each.histogram for each in effective], samples, dimensions)


class MomentCounter:
    """The moments of all columns of numbers; see `jobs.discoveries.walk.Counter`."""

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
    """The columns of numbers; a column of bounds as one for each of its numbers of samples."""
    names = []
    for field in SCHEMA:
        if pa.types.is_list(field.type):
            names += [f"{field.name}/{size}" for size in bound_sizes(samples)]
        elif pa.types.is_floating(field.type):
            names.append(field.name)
    return names


def _matrix(rows: pa.RecordBatch, samples: int) -> Array:
    """The values of the columns of `_names`, [n, C]."""
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
        """A mean with its errors; `noise` names the column with the variances of the estimates."""
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
    """The middle of the bin that holds the median, in ratio; bins differ by less than 0.4%."""
    reached = np.cumsum(histogram.counts)
    place = int(np.searchsorted(reached, (histogram.total + 1) // 2))
    low, high = max(1.0, float(histogram.edges[place])), float(histogram.edges[place + 1])
    return math.sqrt(low * high)


def _finite(number: float) -> float | None:
    """For JSON, which has no NaN: there is no error of a single image."""
    return float(number) if math.isfinite(number) else None
