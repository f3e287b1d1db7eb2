"""The end of a scoring job: from its parts to discoveries, report and summary.

Everything is counted over the parts, never collected, so a job that was interrupted and went on comes to the same.
Each part is read once for that (`jobs.discoveries.survey`), and those that hold discoveries or explained rows once
more.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from export.bundle.format import Bundle
from export.guarantees.p_values import threshold
from export.guarantees.tail import Tail
from export.storage import Folder
from jobs.bulk import Totals, finish
from jobs.bulk.commit import ERRORS, tally
from jobs.bulk.versions import versions
from jobs.discoveries.control import MOST, benjamini_hochberg, gather_discoveries
from jobs.discoveries.drift import Drift, measure_drift
from jobs.discoveries.survey import survey_parts
from jobs.images.contract import ImageContract
from jobs.images.units import Unit
from jobs.report.digest import Histogram, Place, read_rows
from jobs.report.score_sections import ScoreFacts, score_edges
from jobs.score.explain.write import EXPLANATIONS, Explained, write_explanations
from jobs.score.options import SHOWN
from jobs.score.task import PROVIDER, ScoreTask
from vae_core.errors import UserError

DISCOVERIES = "discoveries.parquet"


@dataclass(frozen=True)
class Scored:
    """A scoring job whose parts are all there."""

    output: Folder
    bundle: Bundle
    units: Sequence[Unit]
    images: Sequence[str]  # as the user named them
    bundle_name: str  # likewise
    fpr: float
    fdr: float
    resize: bool
    tail: Tail | None = None
    explain: int = 0  # how many of the most outlying images


def conclude(job: Scored, totals: Totals) -> dict[str, Any]:
    """Count over all parts, write discoveries, explanations, report and summary; returns the summary.

    Raises:
        UserError: not one row was scored.
    """
    parts = job.output.child(ScoreTask.results)
    errors = tally(job.output.child(ERRORS))
    calibration = job.bundle.calibration_scores
    size = len(calibration)
    limit = threshold(calibration, job.fpr)
    edges = score_edges(calibration.astype(np.float64), limit)
    scores = survey_parts(parts, job.bundle.calibration, edges, max(MOST, job.explain))
    bad_files = sum(len(unit.bad_files) for unit in job.units)
    if scores.rows == 0:
        _refuse_nothing(job.output, errors.rows)
    counts = scores.ranks
    level = benjamini_hochberg(counts, job.fdr)
    job.output.write_table(DISCOVERIES, gather_discoveries(parts, scores.top, level))
    drift = measure_drift(scores.statistics, job.bundle.calibration, counts)
    explained = _explain(job, scores.top.places(job.explain))
    flagged = 1 + int(np.sum(calibration > limit))  # ranks k ≤ this are outliers
    summary: dict[str, Any] = {
        "rows": sum(unit.rows for unit in job.units),
        "scored": scores.rows,
        "errors": errors.rows - bad_files,
        "bad_files": bad_files,
        "outliers": int(counts[: flagged + 1].sum()),
        "discoveries": level.discoveries,
        "fpr": job.fpr,
        "threshold": limit,
        "fdr": job.fdr,
        "fdr_threshold": float(calibration[size - level.rank]) if level.rank else None,
        "fdr_p_value": level.rank / (size + 1) if level.rank else None,
        "calibration_images": size,
        "tail": None if job.tail is None else job.tail.to_json(),
        "drift": drift.to_json(),
        "explained": explained.written,
        "no_longer_readable": explained.unreadable,
        "bundle": job.bundle_name,
        "bundle_hash": job.bundle.hash,
        "engine": totals.engine,
        "provider": ", ".join(sorted(scores.metadata.get(PROVIDER.decode(), set()))),
        # Of the last run, which did all of the job unless it was interrupted.
        "last_run": totals.describe(),
        "rows_per_second": round(totals.rows_per_second, 1),
        "versions": versions(),
    }
    _write_report(job, summary, drift, scores.histogram, explained)
    finish(job.output, summary)
    return summary


def _explain(job: Scored, places: list[Place]) -> Explained:
    if not places:
        job.output.delete(EXPLANATIONS)  # of a run that was interrupted and asked for some
        return Explained(0, 0, [])
    rows = read_rows(job.output.child(ScoreTask.results), places)
    contract = ImageContract(*job.bundle.shape, resize=job.resize)
    return write_explanations(job.output, job.bundle, job.units, places, rows, contract, keep=SHOWN)


def _write_report(
    job: Scored, summary: dict[str, Any], drift: Drift, histogram: Histogram, explained: Explained
) -> None:
    from jobs.report.write import write_score_report

    facts = ScoreFacts(
        images=", ".join(path.rstrip("/").rsplit("/", 1)[-1] for path in job.images),
        rows=summary["rows"],
        scored=summary["scored"],
        errors=summary["errors"],
        outliers=summary["outliers"],
        discoveries=summary["discoveries"],
        fpr=summary["fpr"],
        fdr=summary["fdr"],
        threshold=summary["threshold"],
        discovery_threshold=summary["fdr_threshold"],
        rows_per_second=summary["rows_per_second"],
        engine=summary["engine"],
        provider=summary["provider"],
        bundle_hash=summary["bundle_hash"],
        calibration_size=summary["calibration_images"],
    )
    write_score_report(job.output, job.bundle, facts, drift, histogram, explained, job.tail)


def _refuse_nothing(output: Folder, errors: int) -> None:
    folder = output.child(ERRORS)
    first = folder.read_table(folder.names()[0]).slice(0, 1).to_pylist()[0]
    raise UserError(
        f"none of the {errors:,} images could be scored, the first ({first['file']}) because: {first['reason']}; "
        f"the others' reasons are in {folder.url}"
    )
