"""Summarise the scores of a set in one walk: a sample of rows, a histogram, and the worst mistakes."""

from typing import NamedTuple

from export.guarantees.p_values import SCORE, threshold
from jobs.discoveries.histogram import Histogram, HistogramCounter, score_edges
from jobs.discoveries.top import Place, TopCounter
from jobs.discoveries.walk import walk
from jobs.evaluate.samples import Columns, SampleCounter
from jobs.score.plan import ScoreJob

FALSE_ALARMS, MISSED = 24, 9  # images shown in the report: inliers, and outliers of each set


class EvaluatedSet(NamedTuple):
    """A set of images whose scoring job is finished."""

    name: str
    job: ScoreJob
    sample: Columns
    """outlier_score and the statistics, at the same rows."""
    histogram: Histogram
    """Of outlier_score; all sets of an evaluation share its edges."""
    worst: list[Place]
    """The rows with the worst scores: the highest of inliers, the lowest of outliers."""


def summarise_set(name: str, job: ScoreJob, seed: int, are_outliers: bool) -> EvaluatedSet:
    """Summarise the scores of a set in one walk.

    Args:
        name: of the set.
        job: finished.
        seed: of the sample, if there are too many rows to hold.
        are_outliers: whether the images should have high scores.
    """
    calibration = job.bundle.calibration_scores
    sample = SampleCounter([*(each.name for each in job.bundle.statistics), SCORE], seed)
    histogram = HistogramCounter(SCORE, score_edges(calibration, threshold(calibration, job.options.fpr)))
    limit = MISSED if are_outliers else FALSE_ALARMS
    top = TopCounter(limit, lowest=are_outliers)
    walk(job.parts, [sample, histogram, top])
    return EvaluatedSet(name, job, sample.sample, histogram.histogram, top.places(limit))
