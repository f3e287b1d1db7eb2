"""How well a bundle classifies images, from the parts of a scoring job with labels."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from export.class_labels import NONE
from export.guarantees.labels import BINS
from jobs.discoveries.walk import Piece
from jobs.labels.columns import CLASS_PROBABILITY, CONFIDENCE, LABEL_SET, PREDICTED, ClassColumns

_LEAST = 1e-30  # probability: float32 has none that is smaller


class QualityCounter:
    """Accuracy, calibration, log-likelihood and coverage over labelled rows; see `jobs.discoveries.walk.Counter`."""

    def __init__(self, about: ClassColumns) -> None:
        assert about.given is not None, "without labels there is nothing to compare with"
        self._about, self._given = about, about.given
        self.columns = (self._given, PREDICTED, CONFIDENCE, CLASS_PROBABILITY, LABEL_SET)
        size = len(about.labels)
        self._bins = np.zeros((3, BINS))  # rows, right ones, sum of confidences
        self._confusion = np.zeros((size, size), np.int64)  # [label, predicted]
        self._log_probability = 0.0  # Σ log p(label|x)
        self._covered = np.zeros(size, np.int64)  # rows of a class whose label set has it
        self._set_sizes = np.zeros(size, np.int64)  # Σ of sizes of label sets, by the row's class

    def fresh(self) -> "QualityCounter":
        """A new counter, for another part."""
        return QualityCounter(self._about)

    def add(self, piece: Piece) -> None:
        """Count a piece."""
        labels, size = self._about.labels, len(self._about.labels)
        given = labels.indices(piece.rows.column(self._given))
        known = np.flatnonzero(given != NONE)
        if not len(known):
            return
        rows = piece.rows.take(pa.array(known))
        given, predicted = given[known], labels.indices(rows.column(PREDICTED))
        confidence = rows.column(CONFIDENCE).to_numpy(zero_copy_only=False).astype(np.float64)
        bins = np.clip((confidence * BINS).astype(int), 0, BINS - 1)
        for line, weight in zip(self._bins, (np.ones(len(bins)), predicted == given, confidence), strict=True):
            line += np.bincount(bins, weight, BINS)
        self._confusion += np.bincount(given * size + predicted, minlength=size * size).reshape(size, size)
        probability = rows.column(CLASS_PROBABILITY).flatten().to_numpy().reshape(-1, size)
        own = np.maximum(probability[np.arange(len(given)), given].astype(np.float64), _LEAST)
        self._log_probability += float(np.log(own).sum())
        sets = rows.column(LABEL_SET)
        of_row, members = pc.list_parent_indices(sets).to_numpy(), labels.indices(sets.flatten())
        self._covered += np.bincount(given[of_row[members == given[of_row]]], minlength=size)
        self._set_sizes += np.bincount(given[of_row], minlength=size)

    def merge(self, other: "QualityCounter") -> None:
        """Add the counts of `other`."""
        self._bins += other._bins
        self._confusion += other._confusion
        self._log_probability += other._log_probability
        self._covered += other._covered
        self._set_sizes += other._set_sizes

    def metrics(self, coverage: float) -> dict[str, Any]:
        """For metrics.json; None where there are no labelled rows to tell."""
        by_class, counts = self._confusion.sum(1), self._bins[0]
        rows = int(by_class.sum())
        gap = np.abs(self._bins[1] - self._bins[2]).sum()

        def per_row(total: float) -> float | None:
            return total / rows if rows else None

        return {
            "column": self._given,
            "labelled": rows,
            "accuracy": per_row(float(np.trace(self._confusion))),
            "calibration_error": per_row(float(gap)),
            "log_probability": per_row(self._log_probability),
            "label_sets": {
                "nominal_coverage": coverage,
                "coverage": per_row(float(self._covered.sum())),
                "mean_size": per_row(float(self._set_sizes.sum())),
            },
            "reliability": [
                {"rows": int(n), "accuracy": float(right / n), "confidence": float(sure / n)}
                for n, right, sure in zip(counts, self._bins[1], self._bins[2], strict=True)
                if n
            ],
            "classes": [
                {
                    "class": title,
                    "rows": int(n),
                    "accuracy": _ratio(self._confusion[index, index], n),
                    "coverage": _ratio(self._covered[index], n),
                    "mean_set_size": _ratio(self._set_sizes[index], n),
                }
                for index, (title, n) in enumerate(zip(self._about.labels.titles, by_class, strict=True))
            ],
            "confusion": self._confusion.tolist(),
        }


def _ratio(some: npt.ArrayLike, of: npt.ArrayLike) -> float | None:
    return float(np.asarray(some) / np.asarray(of)) if of else None
