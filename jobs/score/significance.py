"""Which p-value a job tests its rows by, and the columns that it adds for that.

`p_value` by default. With --per-class `p_value_class`, ranked among the calibration images of the row's own class; with
--guarantee conditional `p_value_conditional`, which holds given those calibration images. Outliers and discoveries are
what the last of these says.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from export.bundle.format import Bundle
from export.guarantees.classes import CLASS_STATUS, P_VALUE_CLASS, STATUSES, Classes, class_names
from export.guarantees.envelope import P_VALUE_CONDITIONAL, Envelope, fit_envelope
from export.guarantees.p_values import LEAST, P_VALUE, SCORE, ranks, threshold
from export.guarantees.reference import Reference, reference
from export.runtime.session import Arrays
from jobs.score.options import ScoreOptions
from vae_core.errors import UserError

RESERVED = (P_VALUE_CLASS, CLASS_STATUS, P_VALUE_CONDITIONAL)

Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Significance:
    """How a job tests its rows; small, as it travels to the workers."""

    level: float
    """P-values up to it are outliers."""
    per_class: str | None
    """The column of classes."""
    envelopes: Mapping[int, Envelope]
    """By number of calibration images, those of the conditional p-values; empty for marginal ones."""

    @classmethod
    def plan(cls, options: ScoreOptions, bundle: Bundle) -> "Significance":
        """What the options ask for.

        Raises:
            UserError: there are too few calibration images for the false positive rate, or no classes.
        """
        sizes = {len(bundle.calibration_scores)}
        if options.per_class is not None:
            sizes |= {len(scores) for scores in _by_class(bundle).values() if len(scores) >= LEAST}
        wanted = sizes if options.guarantee == "conditional" else set()
        envelopes = {size: fit_envelope(size, options.confidence) for size in sorted(wanted)}
        found = cls(options.fpr, options.per_class, envelopes)
        found._check(found.classes(bundle))
        return found

    def _check(self, classes: Classes) -> None:
        size, smallest = classes.everything.size, classes.everything.smallest
        if self.envelopes and smallest > self.level:
            raise UserError(
                f"--fpr must be at least {smallest:.2g} with --guarantee conditional, --confidence "
                f"{self.envelopes[size].confidence:g} and {size:,} calibration images, got {self.level:g}; "
                "calibrate on more images"
            )
        threshold(classes.everything.scores, self.level)
        if self.per_class is not None and not classes.own:
            largest = max(classes.few.values(), default=0)
            raise UserError(
                f"--per-class needs a class with enough calibration images for --fpr {self.level:g}, got at most "
                f"{largest:,} in a class; calibrate on more images, or raise --fpr"
            )

    @property
    def column(self) -> str:
        """The p-value that outliers and discoveries use."""
        return P_VALUE_CONDITIONAL if self.envelopes else P_VALUE_CLASS if self.per_class else P_VALUE

    @property
    def fields(self) -> list[pa.Field]:
        """The columns to add, in order."""
        of_class = [pa.field(P_VALUE_CLASS, pa.float64()), pa.field(CLASS_STATUS, pa.string())]
        conditional = [pa.field(P_VALUE_CONDITIONAL, pa.float64())]
        return (of_class if self.per_class else []) + (conditional if self.envelopes else [])

    def classes(self, bundle: Bundle) -> Classes:
        """What rows are ranked among.

        Raises:
            UserError: the bundle has no classes.
        """
        everything = self._reference(bundle.calibration_scores)
        if self.per_class is None:
            return Classes(everything, {}, {})
        by_class = _by_class(bundle)
        found = {name: self._reference(scores) for name, scores in by_class.items() if len(scores) >= LEAST}
        own = {name: each for name, each in found.items() if each.last_rank(self.level) > 0}
        return Classes(everything, own, {name: len(scores) for name, scores in by_class.items() if name not in own})

    def _reference(self, scores: npt.NDArray[np.float32]) -> Reference:
        return reference(scores, self.envelopes.get(len(scores)))

    def test(self, classes: Classes, keys: pa.Table, numbers: Arrays) -> tuple[list[pa.Array], Flags]:
        """The columns of `fields`, and which rows are outliers; of rows with finite scores.

        Args:
            classes: those of `classes`.
            keys: the rows' input columns, [N].
            numbers: the scorer's outputs for them.
        """
        scores, references = numbers[SCORE], classes.references
        rank = ranks(numbers[P_VALUE], classes.everything.size)
        groups = np.zeros(len(rank), dtype=np.int64)
        columns: list[pa.Array] = []
        if self.per_class is not None:
            groups, statuses = classes.assign(class_names(keys[self.per_class]))
            for group in np.unique(groups[groups > 0]):
                rows = groups == group
                rank[rows] = references[group].ranks(scores[rows])
            sizes = np.array([each.size for each in references])
            columns = [pa.array(rank / (sizes[groups] + 1.0)), pa.array(STATUSES).take(pa.array(statuses))]
        if self.envelopes:
            conditional = np.empty(len(rank))
            for group in np.unique(groups):
                rows = groups == group
                conditional[rows] = references[group].values[rank[rows]]
            columns.append(pa.array(conditional))
        limits = np.array([each.last_rank(self.level) for each in references])
        return columns, rank <= limits[groups]


def _by_class(bundle: Bundle) -> dict[str, npt.NDArray[np.float32]]:
    """The calibration scores of each class, ascending; classes by name."""
    names = bundle.calibration_classes
    if names is None:
        raise UserError(
            "--per-class needs a bundle that was calibrated by class, got one without classes; "
            "run `vae calibrate --per-class COLUMN` first"
        )
    found: dict[str, list[int]] = {}
    for index, name in enumerate(names.to_pylist()):
        if name is not None:
            found.setdefault(name, []).append(index)
    return {name: bundle.calibration_scores[found[name]] for name in sorted(found)}
