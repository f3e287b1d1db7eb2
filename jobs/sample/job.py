"""The sampling job: plan, run, summarise."""

from typing import Any

from export.bundle.reference import BundleRef
from export.storage import Folder
from jobs.bulk import finish, run
from jobs.bulk.commit import ERRORS, first_error, tally
from jobs.bulk.dataset_card import write_dataset_card
from jobs.bulk.plan import reading_summary
from jobs.bulk.versions import versions
from jobs.program import console
from jobs.report.wording import counted
from jobs.sample.options import SampleOptions
from jobs.sample.task import SampleTask, plan_samples
from vae_core.errors import UserError
from vae_core.latents import ClassMixture


def sample(options: SampleOptions) -> dict[str, Any]:
    """Generate images and return the summary.

    Raises:
        UserError: the bundle is invalid, the output belongs to something else, or no sample could be drawn.
        JobFailed: the job failed; the same call resumes it.
    """
    output = Folder.at(options.output)
    bundle = options.open_bundle(options.output)
    bundle.require_images("vae sample")
    if options.label is not None:
        bundle.require_classes("--label").index_of(options.label)
    labels = bundle.class_labels if isinstance(bundle.prior, ClassMixture) else None
    task = SampleTask(BundleRef.of(bundle), options, output, labels)
    units = plan_samples(options.count, bundle.shape, options.unit_rows)
    totals = run(task, units, output, options, reads=[task.bundle.manifest])
    if totals.summary is not None:
        with reading_summary(output):
            said = _sentence(totals.summary)
        console.result(f"{output.url} is already finished: {said}", summary=totals.summary)
        return totals.summary
    drawn, errors = tally(output.child(task.results)), tally(output.child(ERRORS))
    if drawn.rows == 0:
        reason = first_error(output)["reason"]
        raise UserError(
            f"none of the {errors.rows:,} samples could be drawn; the first: {reason}; "
            f"see all reasons in {output.url}/{ERRORS}"
        )
    summary = {
        "count": options.count,
        "samples": drawn.rows,
        "errors": errors.rows,
        "seed": options.seed,
        "format": options.format,
        "draw": options.draw,
        "temperature": options.temperature,
        "label": options.label,
        "bundle": options.bundle,
        "bundle_hash": bundle.hash,
        "engine": totals.engine,
        # Of the last run: the whole job, unless it was resumed.
        "last_run": totals.describe(),
        "rows_per_second": round(totals.rows_per_second, 1),
        "versions": versions(),
    }
    if options.format == "parquet":
        write_dataset_card(output, "Samples", {"samples": ("images/*.parquet", drawn.rows)})
    finish(output, summary)
    console.result(f"{output.url}: {_sentence(summary)}", summary=summary)
    return summary


def _sentence(summary: dict[str, Any]) -> str:
    errors = f"; {counted(summary['errors'], 'error')}" if summary["errors"] else ""
    return (
        f"{counted(summary['samples'], 'sample')} with seed {summary['seed']}, "
        f"{summary['rows_per_second']:,.0f} per second{errors}"
    )
