"""What is known of the images of --missed once a job is decided: the user's own outliers, found or not."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from jobs.images.listed import Listed

OUTLIER, STATISTIC, SURPRISE = "outlier_score", "statistic", "surprise"


class Missed(NamedTuple):
    """A listed image that was scored."""

    file: str
    row: int
    rank: int
    """1 is the highest score."""
    outlier_score: float
    p_value: float
    """What decides; also the least --fpr that flags it."""
    flagged: int
    """Rows that are outliers at this --fpr, with it."""
    is_outlier: bool
    fdr: float
    """The least --fdr that makes it a discovery; 1 or more if none does."""
    discoveries: int
    """Discoveries at this --fdr, with it."""
    is_discovery: bool
    statistic: str
    statistic_value: float
    statistic_p_value: float
    statistic_rows: int
    """Rows that are as far out in this statistic, with it."""
    surprise: float | None
    """The largest of its map, in nats; None if the image can no longer be read."""
    place: str | None
    surprise_p_value: float | None
    """The share of calibration images whose largest surprise is as large, counting it among them."""
    found_by: list[str]
    """Which of outlier_score, statistic and surprise flag it by itself at --fpr; a statistic at --fpr divided by their
    number, as the most unusual is chosen."""


@dataclass(frozen=True)
class MissedSummary:
    """What became of the images of --missed, by rank."""

    images: Sequence[Missed]
    not_scored: Sequence[Listed]
    """Those among the errors."""

    def to_json(self) -> dict[str, Any]:
        """For summary.json."""
        return {
            "listed": len(self.images) + len(self.not_scored),
            "outliers": sum(each.is_outlier for each in self.images),
            "discoveries": sum(each.is_discovery for each in self.images),
            "images": [each._asdict() for each in self.images],
            "not_scored": [each._asdict() for each in self.not_scored],
        }
