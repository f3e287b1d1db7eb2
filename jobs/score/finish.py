"""Finish a scoring job: from its parts to discoveries, explanations, report and summary.

Everything is computed from the parts, so an interrupted and resumed job gives the same result. Each part is read once
(`jobs.discoveries.walk`), and those with discoveries or explained rows once more.
"""

from typing import Any

from export.guarantees.p_values import SCORE
from jobs.bulk import Totals, finish
from jobs.bulk.commit import ERRORS, first_error
from jobs.bulk.dataset_card import write_dataset_card
from jobs.bulk.versions import versions
from jobs.discoveries.classes import ClassCounter
from jobs.discoveries.control import MAX_DISCOVERIES, RankCounter, gather_discoveries
from jobs.discoveries.drift import StatisticCounter, calibration_edges, measure_drift
from jobs.discoveries.errors import ReasonCounter
from jobs.discoveries.histogram import HistogramCounter, score_edges
from jobs.discoveries.top import Place, TopCounter
from jobs.discoveries.walk import walk
from jobs.images.class_names import with_names
from jobs.labels.columns import LABEL_MARGIN, LABEL_P_VALUE
from jobs.labels.counter import LabelCounter, LabelSummary
from jobs.labels.implausible import least_plausible
from jobs.likelihood.means import Budget, summarise_likelihood
from jobs.score.decide_again import decision_of
from jobs.score.decision import decide
from jobs.score.explain.write import EXPLANATIONS, Explained, write_explanations
from jobs.score.find_missed import MissedRows
from jobs.score.options import SHOWN
from jobs.score.outliers_csv import MOST as LISTED
from jobs.score.plan import ScoreJob
from jobs.score.summary import ScoreSummary, summarise_classes
from jobs.score.task import PROVIDER
from vae_core.errors import InputError

DISCOVERIES, MISLABELLED = "discoveries.parquet", "mislabelled.parquet"


def conclude(job: ScoreJob, totals: Totals) -> dict[str, Any]:
    """Count over all parts, write discoveries, explanations, report and summary, and return the summary.

    Raises:
        UserError: no row was scored.
    """
    from jobs.report.score_report import Illustrations, write_score_report
    from jobs.score.flagged import list_flagged

    options, calibration = job.options, job.bundle.calibration_scores
    significance, classes = job.significance, job.classes
    limit = classes.everything.threshold(options.fpr)
    ranks, statistics = RankCounter(len(calibration)), StatisticCounter(calibration_edges(job.bundle.calibration))
    histogram, top = (
        HistogramCounter(SCORE, score_edges(calibration, limit)),
        TopCounter(max(MAX_DISCOVERIES, options.explain)),
    )
    by_class = [ClassCounter(classes, significance.per_class)] if significance.per_class else []
    first = [TopCounter(MAX_DISCOVERIES, p_value=significance.column)] if by_class else []
    about, labels, suspects = job.about_classes, list[LabelCounter](), list[TopCounter]()
    if about is not None:
        labels = [LabelCounter(about, job.bundle.label_references)]
    if about is not None and about.given is not None:
        suspects = [TopCounter(MAX_DISCOVERIES, lowest=True, p_value=LABEL_P_VALUE, score=LABEL_MARGIN)]
    missed = MissedRows(job) if job.missed else None
    beyond = [missed.counter] if missed else []
    scores = walk(job.parts, [ranks, statistics, histogram, top, *by_class, *first, *labels, *suspects, *beyond])
    reasons = ReasonCounter()
    errors = walk(job.output.child(ERRORS), [reasons])
    bad_files = sum(len(unit.bad_files) for unit in job.units)
    if scores.rows == 0:
        first_failure = first_error(job.output)
        raise InputError(
            f"none of the {errors.rows:,} images could be scored; the first ({first_failure['file']}): "
            f"{first_failure['reason']}; see all reasons in {job.output.url}/{ERRORS}"
        )
    counts = by_class[0].counts if by_class else [ranks.counts]
    found = decide(counts, classes.references, options)
    discoveries = gather_discoveries(job.parts, (first or [top])[0], found.level)
    job.output.write_table(DISCOVERIES, discoveries.replace_schema_metadata(with_names(discoveries.schema).metadata))
    wrong = None
    if suspects:
        wrong = labels[0].test(options.fdr)
        job.output.write_table(MISLABELLED, gather_discoveries(job.parts, suspects[0], wrong))
    most_outlying, total = (first or [top])[0], max(found.outliers, found.level.discoveries)
    flagged = list_flagged(job, most_outlying.places(min(total, LISTED)), total, found.level.discoveries)
    explained = _explain(job, top.places(options.explain))
    of_missed, first_missed = (None, []) if missed is None else missed.describe(found, SHOWN)
    summary = ScoreSummary(
        rows=sum(unit.rows for unit in job.units),
        scored=scores.rows,
        errors=errors.rows - bad_files,
        bad_files=bad_files,
        other_files=dict(job.images.others),
        left_out=reasons.counts,
        outliers=found.outliers,
        discoveries=found.level.discoveries,
        discoveries_possible=found.level.is_possible,
        least_discoveries=found.level.least,
        smallest_p_values=found.at_first_rank,
        false_discoveries=found.false_discoveries,
        inlier_share=None if found.level.inlier_share is None else min(1.0, found.level.inlier_share),
        guarantee=options.guarantee,
        confidence=options.confidence,
        p_value=significance.column,
        smallest_p_value=found.smallest,
        classes=summarise_classes(by_class[0], classes, found, options.fpr) if by_class else None,
        decision=decision_of(job),
        fpr=options.fpr,
        threshold=limit,
        fdr=options.fdr,
        fdr_threshold=None if by_class else found.threshold,
        fdr_p_value=found.level.p_value or None,
        calibration_images=len(calibration),
        tiling=job.bundle.tiling,
        tail=job.tail,
        drift=measure_drift(statistics.counts, job.bundle.calibration, ranks.counts),
        likelihood=_likelihood(job, scores.rows) if options.likelihood else None,
        labels=None if about is None else LabelSummary.of(about, labels[0], wrong),
        flagged=total,
        listed=flagged.listed,
        in_gallery=0 if flagged.gallery is None else flagged.gallery.count,
        missed=of_missed,
        explained=explained.written,
        no_longer_readable=explained.unreadable,
        bundle=options.bundle,
        bundle_hash=job.bundle.hash,
        engine=totals.engine,
        provider=", ".join(sorted(scores.metadata.get(PROVIDER.decode(), set()))),
        last_run=totals.describe(),
        rows_per_second=round(totals.rows_per_second, 1 if totals.rows_per_second >= 10 else 3),
        versions=versions(),
    )
    shown = least_plausible(job, suspects[0].places(min(SHOWN, options.explain))) if suspects else []
    illustrations = Illustrations(explained, flagged, shown, first_missed)
    write_score_report(job, summary, histogram.histogram, reasons.reasons, illustrations)
    tables = {
        "scores": ("scores/*.parquet", scores.rows),
        "discoveries": (DISCOVERIES, discoveries.num_rows),
        "mislabelled": (MISLABELLED, 0 if wrong is None else wrong.discoveries),
        "explanations": (EXPLANATIONS, explained.written),
        "errors": (f"{ERRORS}/*.parquet", errors.rows),
    }
    write_dataset_card(job.output, "Scores", tables)
    content = summary.to_json()
    finish(job.output, content)
    return content


def _likelihood(job: ScoreJob, rows: int) -> dict[str, Any]:
    options = job.options
    budget = Budget(options.likelihood, options.samples, options.chains)
    images = {"images": rows, "of": rows, "drawn": "all"}
    return images | summarise_likelihood(job.parts, job.bundle, budget)


def _explain(job: ScoreJob, places: list[Place]) -> Explained:
    if not places:
        job.output.delete(EXPLANATIONS)  # left by an interrupted run with --explain > 0
        return Explained(0, 0, [])
    return write_explanations(job, places, keep=SHOWN)
