"""Score images for outliers.

    vae score --bundle bundle/ --images photos/ --output scored/

The output holds `scores/*.parquet`, `errors/*.parquet` with the rows that could not be scored and why,
`discoveries.parquet`, `report.html`, and at the end `summary.json`. Killed, it goes on with the same command.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import tyro

from export.bundle import MANIFEST, Bundle
from export.calibration import threshold
from export.scorer import Scorer
from export.storage import Folder, is_url
from export.tail import fit_tail
from jobs.bulk import BulkOptions, run
from jobs.cli import run_main
from jobs.conclusion import Scored, conclude
from jobs.explain.table import own_columns
from jobs.explain.write import SHOWN
from jobs.images.contract import ImageContract
from jobs.images.source import ImageSet, find_images, plan_units
from jobs.scoring import FILE, ROW, ScoreTask
from vae_core.errors import UserError


@dataclass(frozen=True, kw_only=True)
class ScoreOptions(BulkOptions):
    """Score images for outliers with a bundle."""

    bundle: str
    """The bundle, made by `vae export`: a path or a URL."""

    images: tuple[str, ...]
    """Files, folders, patterns or URLs of images."""

    output: str
    """The folder, or the URL of one, that takes the scores: empty, or this very job's, which then goes on."""

    key: str | None = None
    """A column of the images that identifies a row; it stands beside `file` and `row` in scores and errors."""

    keep: tuple[str, ...] = ()
    """Columns of the images to carry over."""

    likelihood: bool = False
    """Also estimate log p(x), which costs many decodes per image: elbo, log_px and effective_samples in nats."""

    resize: bool = False
    """Convert images of another size or channel count, instead of leaving them out as errors."""

    fpr: float = 0.01
    """False positive rate of `is_outlier`: the share of ordinary images that is flagged."""

    fdr: float = 0.1
    """False discovery rate of discoveries.parquet: the share of ordinary images among those flagged."""

    tail: bool = False
    """Also give p-values below the 1/(n + 1) of n calibration images, in a column `p_value_tail`: those of a model, a
    generalised Pareto tail, without the guarantee of `p_value`; outliers and discoveries do not use them."""

    explain: int = SHOWN
    """Most outlying images to explain, in explanations.parquet and, the first of them, in the report; 0 for none."""

    unit_rows: int | None = None
    """About how many rows a worker takes at once; by default a 64th of all, between 1,024 and 32,768."""

    batch_size: int = 128
    """Images per run of the network. It changes memory and speed, not scores."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("fpr", "fdr"):
            if not 0 < getattr(self, name) < 1:
                raise UserError(f"--{name} {getattr(self, name)} is not possible: it must lie between 0 and 1")
        for name, least in (("unit_rows", 1), ("batch_size", 1), ("explain", 0)):
            if (value := getattr(self, name)) is not None and value < least:
                raise UserError(f"--{name.replace('_', '-')} {value} is not possible: it must be at least {least}")


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
    totals = run(
        task,
        units,
        output,
        engine=options.engine,
        address=options.address,
        workers=options.workers,
        reads=[f"{task.bundle}/{MANIFEST}", images.files[0].url, images.files[-1].url],
    )
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
        bundle=options.bundle if is_url(options.bundle) else bundle.folder.path,
        bundle_hash=bundle.hash,
        contract=ImageContract(*bundle.shape, resize=options.resize),
        columns=columns,
        outputs=Scorer(bundle, likelihood=options.likelihood, provider="cpu").output_names,
        inputs=images.fingerprint,
        fpr=options.fpr,
        fdr=options.fdr,
        likelihood=options.likelihood,
        batch_size=options.batch_size,
        tail=fit_tail(bundle.calibration_scores) if options.tail else None,
    )


def _sentence(summary: dict[str, Any]) -> str:
    failed = summary["errors"] + summary["bad_files"]
    return (
        f"{summary['scored']:,} images scored, {summary['rows_per_second']:,.0f} a second; "
        f"{summary['outliers']:,} outliers (false positive rate {summary['fpr']:g}), "
        f"{summary['discoveries']:,} discoveries (false discovery rate {summary['fdr']:g}), {failed:,} errors"
    )


def main(argv: Sequence[str] | None = None) -> None:
    """The command `vae score`."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    run_main("score", lambda: score(tyro.cli(ScoreOptions, args=arguments, prog="vae score")))


if __name__ == "__main__":
    main()
