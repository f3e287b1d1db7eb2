"""What a scoring job came to: `summary.json`, and the figures of the report."""

from dataclasses import dataclass, fields
from typing import Any

from export.guarantees.tail import Tail
from jobs.discoveries.drift import Drift


@dataclass(frozen=True, kw_only=True)
class ScoreSummary:
    """The counts over all parts of a scoring job, and what computed them."""

    rows: int
    """Of the input; each is either scored or among the errors."""
    scored: int
    errors: int
    """Rows that could not be scored."""
    bad_files: int
    """Files that could not be read at all: one entry among the errors for each."""
    outliers: int
    """Rows with p ≤ fpr."""
    discoveries: int
    discoveries_possible: bool
    """Whether the test could have made any; see `jobs.discoveries.control.Level`."""
    least_discoveries: int
    """The fewest that the test can make: ⌈scored / (fdr · (calibration images + 1))⌉."""
    smallest_p_values: int
    """Rows with the smallest p-value there is, 1 / (calibration images + 1)."""
    fpr: float
    threshold: float
    """p ≤ fpr for scores above it."""
    fdr: float
    fdr_threshold: float | None
    """Discoveries are the scores above it; None without any."""
    fdr_p_value: float | None
    """Discoveries are the p-values up to it; None without any."""
    calibration_images: int
    tail: Tail | None
    drift: Drift
    explained: int
    no_longer_readable: int
    """Images that were to be explained and could not be read again."""
    bundle: str
    """As the user named it."""
    bundle_hash: str
    engine: str
    provider: str
    """ONNX Runtime's, as the parts record it."""
    last_run: dict[str, float]
    """Of the last run, which did all of the job unless it was interrupted."""
    rows_per_second: float
    versions: dict[str, str]

    def to_json(self) -> dict[str, Any]:
        """As values that `json.dumps` takes."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return values | {"tail": None if self.tail is None else self.tail.to_json(), "drift": self.drift.to_json()}
