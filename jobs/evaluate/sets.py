"""What one walk over the scores of a set tells an evaluation: a sample of its rows, a histogram, and rows to show."""

from typing import NamedTuple

from export.guarantees.p_values import SCORE, threshold
from jobs.discoveries.histogram import Histogram, HistogramCounter, score_edges
from jobs.discoveries.top import Place, TopCounter
from jobs.discoveries.walk import walk
from jobs.evaluate.samples import Columns, SampleCounter
from jobs.score.plan import ScoreJob

FALSE_ALARMS, MISSED = 24, 9  # images that the report shows: of the ordinary ones, of each set of outliers


class EvaluatedSet(NamedTuple):
    """A set of images whose scoring job has ended."""

    name: str
    job: ScoreJob
    sample: Columns
    """outlier_score and the statistics, at the same rows."""
    histogram: Histogram
    """Of outlier_score; the sets of an evaluation share its edges."""
    mistaken: list[Place]
    """The rows whose scores are most wrong: the highest of ordinary images, the lowest of outliers."""


def survey(name: str, job: ScoreJob, seed: int, are_outliers: bool) -> EvaluatedSet:
    """Walk over the scores of a set once.

    Args:
        name: of the set.
        job: has ended.
        seed: of the sample, where there are too many rows to hold.
        are_outliers: whether the images are meant to have high scores.
    """
    calibration = job.bundle.calibration_scores
    sample = SampleCounter([*(each.name for each in job.bundle.statistics), SCORE], seed)
    histogram = HistogramCounter(SCORE, score_edges(calibration, threshold(calibration, job.options.fpr)))
    most = MISSED if are_outliers else FALSE_ALARMS
    top = TopCounter(most, lowest=are_outliers)
    walk(job.parts, [sample, histogram, top])
    return EvaluatedSet(name, job, sample.sample, histogram.histogram, top.places(most))
