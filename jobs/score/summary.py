"""The result of a scoring job: `summary.json`, and the key figures of the report."""

from dataclasses import dataclass, fields
from typing import Any

from export.guarantees.tail import Tail
from jobs.discoveries.drift import Drift


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
    outliers: int
    """Rows with p ≤ fpr."""
    discoveries: int
    discoveries_possible: bool
    """Whether there could have been any; see `jobs.discoveries.control.Level`."""
    least_discoveries: int
    """The minimum number of discoveries, if any: ⌈scored / (fdr · (calibration images + 1))⌉."""
    smallest_p_values: int
    """Rows with the smallest possible p-value, 1 / (calibration images + 1)."""
    fpr: float
    threshold: float
    """p ≤ fpr for scores above it."""
    fdr: float
    fdr_threshold: float | None
    """Discoveries have scores above it; None if there are none."""
    fdr_p_value: float | None
    """Discoveries have p-values up to it; None if there are none."""
    calibration_images: int
    tail: Tail | None
    drift: Drift
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
        return values | {"tail": None if self.tail is None else self.tail.to_json(), "drift": self.drift.to_json()}
