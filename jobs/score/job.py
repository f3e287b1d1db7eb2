"""The scoring job: plan, run, finish."""

from typing import Any

from jobs.bulk import run
from jobs.bulk.plan import reading_summary
from jobs.program import console
from jobs.score.decide_again import decide_parts, is_decided, reopen
from jobs.score.finish import conclude
from jobs.score.options import ScoreOptions
from jobs.score.plan import ScoreJob
from jobs.score.terminal import notices, sentence


def score(options: ScoreOptions) -> dict[str, Any]:
    """Score images and return the summary.

    Raises:
        UserError: bundle, images or options are invalid, the output belongs to something else, or no row was scored.
        JobFailed: the job failed; the same call resumes it.
    """
    return run_job(ScoreJob.plan(options, options.open_bundle(options.output)))


def run_job(job: ScoreJob) -> dict[str, Any]:
    """Run a planned job and return the summary; raises as `score` does."""
    task, files = job.task(), job.images.files
    reads = [task.bundle.manifest, files[0].url, files[-1].url]
    totals = run(task, job.units, job.output, job.options, reads, list(notices(job)))
    is_whole = totals.summary is None and totals.rows == sum(unit.rows for unit in job.units)
    if totals.summary is not None:
        with reading_summary(job.output):
            if is_decided(job, totals.summary):
                said = f"{job.output.url} is already finished: {sentence(totals.summary)}"
                console.result(said, summary=totals.summary)
                return totals.summary
            console.note("score", "the images are scored already; deciding again")
            totals = reopen(job, totals.summary)
    if not is_whole:  # some parts may be of an earlier run, at another level
        decide_parts(job, task)
    summary = conclude(job, totals)
    console.result(f"{job.output.url}: {sentence(summary)}; see report.html", summary=summary)
    return summary
