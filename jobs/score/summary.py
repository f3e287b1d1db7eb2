"""The result of a scoring job: `summary.json`, and the key figures of the report."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

from export.guarantees.classes import STATUSES, Classes
from export.guarantees.p_values import SCORE
from export.guarantees.tail import Tail
from export.tiling import Tiling
from jobs.discoveries.classes import ClassCounter
from jobs.discoveries.drift import Drift
from jobs.discoveries.false_discoveries import FalseDiscoveries
from jobs.labels.counter import LabelSummary
from jobs.score.decision import Decision
from jobs.score.missed import MissedSummary
from jobs.score.options import Guarantee


class ClassRows(NamedTuple):
    """A class whose rows are compared with its own calibration images."""

    name: str
    calibration_images: int
    rows: int
    outliers: int
    discoveries: int
    threshold: float
    """Outliers have scores above it."""


class Few(NamedTuple):
    """A class whose rows are compared with all calibration images, as it has too few of its own."""

    name: str
    calibration_images: int
    rows: int


class ClassSummary(NamedTuple):
    """What rows of a job by class are compared with."""

    own: list[ClassRows]
    few: list[Few]
    unknown: list[str]
    """The first classes of rows that have no calibration images."""
    rows: dict[str, int]
    """By `class_status`."""

    def to_json(self) -> dict[str, Any]:
        """For summary.json."""
        return {
            "own": [each._asdict() for each in self.own],
            "few": [each._asdict() for each in self.few],
            "unknown": self.unknown,
            "rows": self.rows,
        }


@dataclass(frozen=True, kw_only=True)
class ScoreSummary:
    """Counts over all parts of a scoring job, and how they were computed."""

    rows: int
    """Rows of the input; each is either scored or an error."""
    scored: int
    errors: int
    """Rows that could not be scored."""
    bad_files: int
    """Unreadable files; each is one entry in errors/."""
    other_files: dict[str, int]
    """Files beside the images that are none, by kind."""
    left_out: dict[str, int]
    """The errors and unreadable files by reason, the most frequent first."""
    outliers: int
    """Rows with p-values up to fpr."""
    discoveries: int
    discoveries_possible: bool
    """Whether there could have been any; see `jobs.discoveries.control.Level`."""
    least_discoveries: int
    """The minimum number of discoveries, if any: ⌈scored · smallest p-value / fdr⌉; with --storey scored times the
    estimated share of inliers."""
    smallest_p_values: int
    """Rows that score above all calibration images that they are compared with."""
    false_discoveries: FalseDiscoveries
    """Bounds on the inliers among discoveries, and among the rows up to other p-values."""
    inlier_share: float | None
    """Storey's estimate, with --storey."""
    guarantee: Guarantee
    confidence: float
    p_value: str
    """The column that outliers and discoveries use."""
    smallest_p_value: float
    """The smallest possible: 1 / (calibration images + 1) if it is marginal."""
    classes: ClassSummary | None
    """With --per-class."""
    decision: dict[str, Any]
    """The options that the decision is of; see `jobs.score.decide_again.DECISION`."""
    fpr: float
    threshold: float
    """p ≤ fpr for scores above it, compared with all calibration images."""
    fdr: float
    fdr_threshold: float | None
    """Discoveries have scores above it; None if there are none, or if it differs between classes."""
    fdr_p_value: float | None
    """Discoveries have p-values up to it; None if there are none."""
    calibration_images: int
    tiling: Tiling | None
    """How images are cut into tiles, if they are."""
    tail: Tail | None
    drift: Drift
    likelihood: dict[str, Any] | None
    """With --likelihood: by estimator, as `vae evaluate` has it, over the scored rows."""
    labels: LabelSummary | None
    """With --classes or --label."""
    flagged: int
    """Rows that are outliers or discoveries."""
    listed: int
    """Of them, in outliers.csv: all up to 100,000."""
    in_gallery: int
    """Of them, in the report's gallery."""
    missed: MissedSummary | None
    """With --missed."""
    explained: int
    no_longer_readable: int
    """Images to explain that could not be read again."""
    bundle: str
    """As given by the user."""
    bundle_hash: str
    engine: str
    provider: str
    """ONNX Runtime provider, as recorded in the parts."""
    last_run: dict[str, float]
    """Timing of the last run: of the whole job, unless it was resumed."""
    rows_per_second: float
    versions: dict[str, str]

    def to_json(self) -> dict[str, Any]:
        """JSON-serialisable form."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return values | {
            "tiling": None if self.tiling is None else self.tiling.to_json(),
            "tail": None if self.tail is None else self.tail.to_json(),
            "drift": self.drift.to_json(),
            "false_discoveries": self.false_discoveries.to_json(),
            "classes": None if self.classes is None else self.classes.to_json(),
            "labels": None if self.labels is None else self.labels._asdict(),
            "missed": None if self.missed is None else self.missed.to_json(),
        }

    def is_discovery(self, row: Mapping[str, Any]) -> bool:
        """Whether a scored row, with its scores and p-values, is a discovery."""
        if self.fdr_threshold is not None:
            return float(row[SCORE]) > self.fdr_threshold
        return self.fdr_p_value is not None and float(row[self.p_value]) <= self.fdr_p_value


def summarise_classes(counter: ClassCounter, classes: Classes, decision: Decision, level: float) -> ClassSummary:
    """What became of each class, with outliers at the false positive rate `level`."""
    own = [
        ClassRows(
            name,
            each.size,
            int(decision.counts[i].sum()),
            decision.flagged(each, i, level),
            decision.flagged(each, i, decision.level.p_value),
            each.threshold(level),
        )
        for i, (name, each) in enumerate(classes.own.items(), start=1)
    ]
    few = [Few(name, size, counter.few[name]) for name, size in classes.few.items()]
    rows = dict(zip(STATUSES, counter.statuses.tolist(), strict=True))
    return ClassSummary(own, few, list(counter.unknown), rows)
