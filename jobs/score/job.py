"""Score images for outliers."""

import sys
from typing import Any

from export.bundle.format import Bundle
from export.bundle.reference import BundleRef
from export.guarantees.p_values import threshold
from export.guarantees.tail import fit_tail
from export.runtime.scorer import Scorer
from export.storage import Folder
from jobs.bulk import run
from jobs.images.contract import ImageContract
from jobs.images.source import ImageSet, find_images, plan_units
from jobs.score.explain.table import own_columns
from jobs.score.finish import Scored, conclude
from jobs.score.options import ScoreOptions
from jobs.score.task import FILE, ROW, ScoreTask
from vae_core.errors import UserError


def score(options: ScoreOptions) -> dict[str, Any]:
    """Do what the options say; returns the summary.

    Raises:
        UserError: bundle, images or options do not fit, the output holds something else, or not one row was scored.
        JobFailed: the job cannot go on; the same call resumes it.
    """
    output = Folder.at(options.output)
    bundle = Bundle.open(options.bundle)
    threshold(bundle.calibration_scores, options.fpr)  # says so if the calibration is too coarse for it
    images = find_images(options.images)
    task = plan_task(options, bundle, images)
    units = plan_units(images, options.unit_rows)
    totals = run(task, units, output, options, [task.bundle.manifest, images.files[0].url, images.files[-1].url])
    if totals.summary is not None:
        print(f"{output.url} is finished already: {_sentence(totals.summary)}")
        return totals.summary
    if task.tail is not None and task.tail.verdict == "does not fit":
        print("score: the tail's model does not fit the calibration scores; see summary.json", file=sys.stderr)
    scored = Scored(
        output,
        bundle,
        units,
        options.images,
        options.bundle,
        options.fpr,
        options.fdr,
        options.resize,
        task.tail,
        options.explain,
    )
    summary = conclude(scored, totals)
    print(f"{output.url}: {_sentence(summary)}; see report.html there")
    return summary


def plan_task(options: ScoreOptions, bundle: Bundle, images: ImageSet) -> ScoreTask:
    """The task of a scoring job.

    Raises:
        UserError: a column to be kept is not there, or its name is taken; or no tail can be fitted.
    """
    names = dict.fromkeys([*([options.key] if options.key else []), *options.keep])
    columns = images.keep([name for name in names if name not in (FILE.name, ROW.name)])
    if options.explain and (taken := [name for name in columns.names if name in own_columns()]):
        raise UserError(
            f"the column {taken[0]} cannot be kept, since explanations have one of that name; rename it or give "
            "--explain 0"
        )
    return ScoreTask(
        bundle=BundleRef.of(bundle),
        options=options,
        contract=ImageContract(*bundle.shape, resize=options.resize),
        columns=columns,
        outputs=Scorer(bundle, likelihood=options.likelihood, provider="cpu").output_names,
        inputs=images.fingerprint,
        tail=fit_tail(bundle.calibration_scores) if options.tail else None,
    )


def _sentence(summary: dict[str, Any]) -> str:
    failed = summary["errors"] + summary["bad_files"]
    return (
        f"{summary['scored']:,} images scored, {summary['rows_per_second']:,.0f} a second; "
        f"{summary['outliers']:,} outliers (false positive rate {summary['fpr']:g}), "
        f"{summary['discoveries']:,} discoveries (false discovery rate {summary['fdr']:g}), {failed:,} errors"
    )
