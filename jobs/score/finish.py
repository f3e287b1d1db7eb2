"""The end of a scoring job: from its parts to discoveries, report and summary.

Everything is counted over the parts, never collected, so a job that was interrupted and went on comes to the same.
Each part is read once for that (`jobs.discoveries.survey`), and those that hold discoveries or explained rows once
more.
"""

from typing import Any

import numpy as np

from export.guarantees.p_values import threshold
from export.storage import Folder
from jobs.bulk import Totals, finish
from jobs.bulk.commit import ERRORS, tally
from jobs.bulk.versions import versions
from jobs.discoveries.control import MOST, benjamini_hochberg, gather_discoveries
from jobs.discoveries.drift import measure_drift
from jobs.discoveries.survey import survey_parts
from jobs.report.digest import Place
from jobs.report.score_sections import score_edges
from jobs.score.explain.write import EXPLANATIONS, Explained, write_explanations
from jobs.score.options import SHOWN
from jobs.score.plan import ScoreJob
from jobs.score.summary import ScoreSummary
from jobs.score.task import PROVIDER
from vae_core.errors import UserError

DISCOVERIES = "discoveries.parquet"


def conclude(job: ScoreJob, totals: Totals) -> dict[str, Any]:
    """Count over all parts, write discoveries, explanations, report and summary; returns the summary.

    Raises:
        UserError: not one row was scored.
    """
    from jobs.report.write import write_score_report

    options = job.options
    errors = tally(job.output.child(ERRORS))
    calibration = job.bundle.calibration_scores
    size = len(calibration)
    limit = threshold(calibration, options.fpr)
    edges = score_edges(calibration.astype(np.float64), limit)
    scores = survey_parts(job.parts, job.bundle.calibration, edges, max(MOST, options.explain))
    bad_files = sum(len(unit.bad_files) for unit in job.units)
    if scores.rows == 0:
        _refuse_nothing(job.output, errors.rows)
    counts = scores.ranks
    level = benjamini_hochberg(counts, options.fdr)
    job.output.write_table(DISCOVERIES, gather_discoveries(job.parts, scores.top, level))
    explained = _explain(job, scores.top.places(options.explain))
    flagged = 1 + int(np.sum(calibration > limit))  # ranks k ≤ this are outliers
    summary = ScoreSummary(
        rows=sum(unit.rows for unit in job.units),
        scored=scores.rows,
        errors=errors.rows - bad_files,
        bad_files=bad_files,
        outliers=int(counts[: flagged + 1].sum()),
        discoveries=level.discoveries,
        fpr=options.fpr,
        threshold=limit,
        fdr=options.fdr,
        fdr_threshold=float(calibration[size - level.rank]) if level.rank else None,
        fdr_p_value=level.rank / (size + 1) if level.rank else None,
        calibration_images=size,
        tail=job.tail,
        drift=measure_drift(scores.statistics, job.bundle.calibration, counts),
        explained=explained.written,
        no_longer_readable=explained.unreadable,
        bundle=options.bundle,
        bundle_hash=job.bundle.hash,
        engine=totals.engine,
        provider=", ".join(sorted(scores.metadata.get(PROVIDER.decode(), set()))),
        last_run=totals.describe(),
        rows_per_second=round(totals.rows_per_second, 1),
        versions=versions(),
    )
    write_score_report(job, summary, scores.histogram, explained)
    found = summary.to_json()
    finish(job.output, found)
    return found


def _explain(job: ScoreJob, places: list[Place]) -> Explained:
    if not places:
        job.output.delete(EXPLANATIONS)  # of a run that was interrupted and asked for some
        return Explained(0, 0, [])
    return write_explanations(job, places, keep=SHOWN)


def _refuse_nothing(output: Folder, errors: int) -> None:
    folder = output.child(ERRORS)
    first = folder.read_table(folder.names()[0]).slice(0, 1).to_pylist()[0]
    raise UserError(
        f"none of the {errors:,} images could be scored, the first ({first['file']}) because: {first['reason']}; "
        f"the others' reasons are in {folder.url}"
    )
