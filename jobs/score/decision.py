"""Which rows of a job are outliers and discoveries, and how many of them may be false, from counts of their ranks."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from export.guarantees.reference import Reference
from jobs.discoveries.control import Counts, Level, benjamini_hochberg
from jobs.discoveries.false_discoveries import FalseDiscoveries, bound_false_discoveries
from jobs.score.options import ScoreOptions

LEVELS = (0.0001, 0.001, 0.01, 0.05, 0.1)
"""P-values up to which false discoveries are bounded too."""


class Decision(NamedTuple):
    """Result of the tests of a job."""

    counts: Sequence[Counts]
    """For each reference, counts[k] rows of rank k."""
    outliers: int
    level: Level
    threshold: float | None
    """Discoveries have scores above it, if all rows are ranked among the same images; None if there are none."""
    at_first_rank: int
    """Rows that score above all calibration images that they are ranked among."""
    smallest: float
    """The smallest p-value that a row could have."""
    false_discoveries: FalseDiscoveries

    def flagged(self, reference: Reference, index: int, level: float) -> int:
        """Rows ranked among `reference`, the `index`-th, with p-values up to `level`."""
        return int(self.counts[index][: reference.last_rank(level) + 1].sum())


def decide(counts: Sequence[Counts], references: Sequence[Reference], options: ScoreOptions) -> Decision:
    """Test the rows of a job.

    Args:
        counts: for each reference, counts[k] rows of rank k, [n + 2].
        references: what rows are ranked among, all calibration images first.
        options: those of the job.
    """
    met = [i for i, each in enumerate(counts) if each.any()]
    values = np.concatenate([references[i].values for i in met])
    level = benjamini_hochberg(np.concatenate([counts[i] for i in met]), options.fdr, values, adaptive=options.storey)
    smallest = min(references[i].smallest for i in met)
    shown = {each for each in (*LEVELS, options.fpr) if each >= smallest}
    return Decision(
        counts,
        sum(int(each[: of.last_rank(options.fpr) + 1].sum()) for each, of in zip(counts, references, strict=True)),
        level,
        references[0].threshold(level.p_value) if level.p_value else None,
        sum(int(each[1]) for each in counts),
        smallest,
        bound_false_discoveries(counts, references, options.confidence, level.p_value, sorted(shown)),
    )
