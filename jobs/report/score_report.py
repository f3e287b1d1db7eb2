"""The report of a scoring job."""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from jobs.discoveries.errors import Reason
from jobs.discoveries.histogram import Histogram
from jobs.labels.implausible import Implausible
from jobs.report.page import render_page, write_page
from jobs.report.sections.bundle import bundle_sections, footer
from jobs.report.sections.drift import drift_section
from jobs.report.sections.flagged import flagged_section
from jobs.report.sections.guarantees import guarantee_section
from jobs.report.sections.labels import label_section
from jobs.report.sections.likelihood import likelihood_section
from jobs.report.sections.missed import missed_section
from jobs.report.sections.outliers import outlier_section
from jobs.report.sections.scores import error_section, histogram_section, score_head
from jobs.report.sections.tail import tail_note
from jobs.score.explain.explanation import Explanation
from jobs.score.explain.write import Explained
from jobs.score.flagged import Flagged
from jobs.score.plan import ScoreJob
from jobs.score.summary import ScoreSummary


class Illustrations(NamedTuple):
    """Images of a report."""

    explained: Explained  # the most outlying images
    flagged: Flagged
    implausible: Sequence[Implausible] = ()  # the images with the least plausible labels
    missed: Sequence[Explanation] = ()  # the first images of --missed by rank


def write_score_report(
    job: ScoreJob, summary: ScoreSummary, histogram: Histogram, reasons: Sequence[Reason], shown: Illustrations
) -> str:
    """Write the report of a scoring job with all its parts, and return its address.

    Args:
        job: the job.
        summary: its counts.
        histogram: of its scores, between `score_edges`.
        reasons: of the errors, with counts.
        shown: its images.
    """
    calibration = job.bundle.calibration_scores
    scores_section = histogram_section(histogram, calibration, summary)
    if summary.tail is not None:
        scores_section = replace(scores_section, blocks=[*scores_section.blocks, tail_note(summary.tail)])
    sections = [
        flagged_section(shown.flagged, summary),
        scores_section,
        guarantee_section(summary, job.bundle.manifest["calibration"].get("reviewed")),
        outlier_section(shown.explained, summary),
        *([] if summary.missed is None else [missed_section(summary.missed, shown.missed, summary)]),
        *([] if summary.labels is None else [label_section(summary.labels, shown.implausible, summary.fdr)]),
        drift_section(summary.drift, summary.scored, summary.calibration_images),
        *([] if summary.likelihood is None else [likelihood_section(summary.likelihood)]),
        error_section(reasons),
        *bundle_sections(job.bundle),
    ]
    return write_page(job.output, render_page(score_head(job.title, summary), sections, footer(job.bundle)))
