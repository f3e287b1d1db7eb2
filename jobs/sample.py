"""Generate a corpus of images from a bundle's model.

    vae sample --bundle bundle/ --count 10000 --output corpus/

The output holds `images/*.parquet` as the `datasets` library reads them, or `images/*.png` with an index, and at the
end `summary.json`. Sample i of a seed is the same image in every corpus. Killed, it goes on with the same command.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import tyro

from export.bundle import MANIFEST, Bundle
from export.storage import Folder, is_url
from jobs.bulk import BulkOptions, finish, run
from jobs.bulk.commit import ERRORS, tally
from jobs.bulk.versions import versions
from jobs.cli import run_main
from jobs.sampling import Format, SampleTask, plan_samples
from vae_core.errors import UserError


@dataclass(frozen=True, kw_only=True)
class SampleOptions(BulkOptions):
    """Generate a corpus of images with a bundle."""

    bundle: str
    """The bundle, made by `vae export`: a path or a URL."""

    count: int
    """How many images."""

    output: str
    """The folder, or the URL of one, that takes the corpus: empty, or this very job's, which then goes on."""

    seed: int = 0
    """Of the corpus, from 0: another seed gives other images."""

    format: Format = "parquet"
    """Parquet files as the `datasets` library reads them, or a PNG file per image."""

    draw: bool = False
    """Draw every pixel from p(x|z), instead of taking its mean: with the noise of the likelihood."""

    unit_rows: int | None = None
    """How many images a worker takes at once; by default a 64th of all, between 256 and 4,096."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.count < 1:
            raise UserError(f"--count {self.count} is not possible: it must be at least 1")
        if not 0 <= self.seed < 2**63:
            raise UserError(f"--seed {self.seed} is not possible: it must be from 0 up to 2^63 − 1")
        if self.unit_rows is not None and self.unit_rows < 1:
            raise UserError(f"--unit-rows {self.unit_rows} is not possible: it must be at least 1")


def sample(options: SampleOptions) -> dict[str, Any]:
    """Do what the options say; returns the summary.

    Raises:
        UserError: the bundle cannot be used, the output holds something else, or not one sample could be drawn.
        JobFailed: the job cannot go on; the same call resumes it.
    """
    output = Folder.at(options.output)
    bundle = Bundle.open(options.bundle)
    task = SampleTask(
        bundle=options.bundle if is_url(options.bundle) else bundle.folder.path,
        bundle_hash=bundle.hash,
        output=output,
        format=options.format,
        seed=options.seed,
        draw=options.draw,
    )
    units = plan_samples(options.count, bundle.shape, options.unit_rows)
    totals = run(
        task,
        units,
        output,
        engine=options.engine,
        address=options.address,
        workers=options.workers,
        reads=[f"{task.bundle}/{MANIFEST}"],
    )
    if totals.summary is not None:
        print(f"{output.url} is finished already: {_sentence(totals.summary)}")
        return totals.summary
    drawn, errors = tally(output.child(task.results)), tally(output.child(ERRORS))
    if drawn.rows == 0:
        first = output.child(ERRORS).read_table(output.child(ERRORS).names()[0]).slice(0, 1).to_pylist()[0]
        raise UserError(f"none of the {errors.rows:,} samples could be drawn, the first because: {first['reason']}")
    summary = {
        "count": options.count,
        "samples": drawn.rows,
        "errors": errors.rows,
        "seed": options.seed,
        "format": options.format,
        "draw": options.draw,
        "bundle": options.bundle,
        "bundle_hash": bundle.hash,
        "engine": totals.engine,
        # Of the last run, which did all of the job unless it was interrupted.
        "last_run": totals.describe(),
        "rows_per_second": round(totals.rows_per_second, 1),
        "versions": versions(),
    }
    finish(output, summary)
    print(f"{output.url}: {_sentence(summary)}")
    return summary


def _sentence(summary: dict[str, Any]) -> str:
    errors = f"; {summary['errors']:,} errors" if summary["errors"] else ""
    return (
        f"{summary['samples']:,} samples of seed {summary['seed']}, {summary['rows_per_second']:,.0f} a second{errors}"
    )


def main(argv: Sequence[str] | None = None) -> None:
    """The command `vae sample`."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    run_main("sample", lambda: sample(tyro.cli(SampleOptions, args=arguments, prog="vae sample")))


if __name__ == "__main__":
    main()
