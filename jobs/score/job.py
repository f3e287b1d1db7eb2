"""The scoring job: plan, run, finish."""

from collections.abc import Mapping
from typing import Any

from export.bundle.format import Bundle
from jobs.bulk import run
from jobs.report.wording import counted
from jobs.score.finish import conclude
from jobs.score.options import ScoreOptions
from jobs.score.plan import ScoreJob


def score(options: ScoreOptions) -> dict[str, Any]:
    """Score images and return the summary.

    Raises:
        UserError: bundle, images or options are invalid, the output belongs to something else, or no row was scored.
        JobFailed: the job failed; the same call resumes it.
    """
    return run_job(ScoreJob.plan(options, Bundle.open(options.bundle)))


def run_job(job: ScoreJob) -> dict[str, Any]:
    """Run a planned job and return the summary; raises as `score` does."""
    task, files = job.task(), job.images.files
    totals = run(task, job.units, job.output, job.options, [task.bundle.manifest, files[0].url, files[-1].url])
    if totals.summary is not None:
        print(f"{job.output.url} is already finished: {_sentence(totals.summary)}")
        return totals.summary
    summary = conclude(job, totals)
    print(f"{job.output.url}: {_sentence(summary)}; see report.html")
    return summary


def _sentence(summary: Mapping[str, Any]) -> str:
    failed = summary["errors"] + summary["bad_files"]
    return (
        f"{counted(summary['scored'], 'image')} scored, {summary['rows_per_second']:,.0f} per second; "
        f"{counted(summary['outliers'], 'outlier')} (false positive rate {summary['fpr']:g}), {_discoveries(summary)}, "
        f"{counted(failed, 'error')}"
    )


def _discoveries(summary: Mapping[str, Any]) -> str:
    if summary["discoveries_possible"]:
        found = counted(summary["discoveries"], "discovery", "discoveries")
        return f"{found} (false discovery rate {summary['fdr']:g})"
    size, top = summary["calibration_images"], summary["smallest_p_values"]
    return (
        f"no discoveries possible (with {size:,} calibration images, a false discovery rate of {summary['fdr']:g} "
        f"requires at least {summary['least_discoveries']:,}, but only {counted(top, 'image')} reached the smallest "
        f"p-value, 1/{size + 1:,})"
    )
