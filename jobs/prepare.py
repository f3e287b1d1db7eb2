"""Bring images of any layout into the packed one, which every job reads fastest.

    vae prepare --source photos/ --size 64 --output packed/
    vae prepare --source torchvision:FashionMNIST --output fashion/

The output holds `images/*.parquet` (see `jobs.images.packing`), `errors/*.parquet` with the rows that could not be
converted and why, and at the end `summary.json`. Killed, it goes on with the same command.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import tyro

from export.storage import Folder
from jobs.bulk import BulkOptions, finish, run
from jobs.bulk.commit import ERRORS, tally
from jobs.cli import run_main
from jobs.images.contract import ImageContract
from jobs.images.packing import PackTask
from jobs.images.reader import first_image_shape
from jobs.images.source import ImageSet, find_images, plan_units
from jobs.images.units import Unit
from jobs.images.vision_sets import PREFIX, VisionSet
from vae_core.errors import UserError


@dataclass(frozen=True, kw_only=True)
class PrepareOptions(BulkOptions):
    """Bring images of any layout into the packed one, which every job reads fastest."""

    source: tuple[str, ...]
    """Files, folders, patterns or URLs of images; or `torchvision:NAME`, a data set that torchvision downloads, for
    example torchvision:FashionMNIST."""

    output: str
    """The folder, or the URL of one, that takes the packed images."""

    size: int | None = None
    """Make every image SIZE×SIZE pixels, with as many channels as the first one has. Without it the images keep the
    size of the first one."""

    resize: bool = False
    """Without --size: convert images that differ from the first one, instead of leaving them out as errors."""

    keep: tuple[str, ...] | None = None
    """The columns to carry over, besides the images; by default all that every file has."""

    split: str = "train"
    """Which part of a torchvision data set."""

    root: str = "~/.cache/torchvision"
    """Where the files of torchvision data sets are, or are put."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.size is not None and self.size < 1:
            raise UserError(f"--size is {self.size}, but an image has at least 1 pixel")


def prepare(options: PrepareOptions) -> dict[str, Any]:
    """Do what the options say; returns the summary.

    Raises:
        UserError: there is nothing to read, the output holds something else, or not one image could be converted.
    """
    output = Folder.at(options.output)
    task, units, reads = _plan(options)
    totals = run(
        task,
        units,
        output,
        engine=options.engine,
        address=options.address,
        workers=options.workers,
        reads=reads,
    )
    if totals.summary is not None:
        print(f"{output.url} is finished already: {_sentence(totals.summary)}")
        return totals.summary
    prepared, errors = tally(output.child(task.results)), tally(output.child(ERRORS))
    if prepared.rows == 0:
        first = output.child(ERRORS).read_table(output.child(ERRORS).names()[0]).slice(0, 1).to_pylist()[0]
        raise UserError(
            f"none of the {errors.rows:,} images could be prepared, the first ({first['file']}) because: "
            f"{first['reason']}; all are in {output.url}/{ERRORS}"
        )
    summary = {
        "rows": sum(unit.rows for unit in units),
        "prepared": prepared.rows,
        "errors": errors.rows,
        "shape": list(task.contract.shape),
        "columns": task.columns.names,
        "rows_per_second": round(totals.rows_per_second, 1),
        "engine": totals.engine,
    }
    finish(output, summary)
    print(f"{output.url}: {_sentence(summary)}")
    return summary


def _plan(options: PrepareOptions) -> tuple[PackTask, list[Unit], list[str]]:
    """The task, its units, and some files that the workers read."""
    named = [source for source in options.source if source.startswith(PREFIX)]
    if not named:
        images = find_images(options.source)
        contract = _contract(options, first_image_shape(images))
        reads = [images.files[0].url, images.files[-1].url]
        return PackTask(contract, _kept(options, images), images.fingerprint), plan_units(images), reads
    if len(options.source) > 1:
        raise UserError(f"{named[0]} cannot be joined with other sources; prepare each by itself")
    root = str(Path(options.root).expanduser().absolute())
    source = VisionSet(named[0].removeprefix(PREFIX), options.split, root)
    columns = source.columns()
    for name in options.keep or ():
        if name not in columns.names:
            raise UserError(f"{source.address} has no column {name}; it has {', '.join(columns.names) or 'none'}")
    if options.keep is not None:
        columns = pa.schema([columns.field(name) for name in options.keep])
    task = PackTask(_contract(options, source.shape()), columns, source.address, source)
    return task, source.units(), []


def _contract(options: PrepareOptions, first: tuple[int, int, int]) -> ImageContract:
    channels, height, width = first
    if options.size is None:
        return ImageContract(channels, height, width, options.resize)
    return ImageContract(channels, options.size, options.size, resize=True)


def _kept(options: PrepareOptions, images: ImageSet) -> pa.Schema:
    return images.columns if options.keep is None else images.keep(options.keep)


def _sentence(summary: dict[str, Any]) -> str:
    channels, height, width = summary["shape"]
    errors = f"; {summary['errors']:,} errors" if summary["errors"] else ""
    return f"{summary['prepared']:,} images of {width}×{height} with {channels} channel{'s'[: channels > 1]}{errors}"


def main(argv: Sequence[str] | None = None) -> None:
    """The command `vae prepare`."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    run_main("prepare", lambda: prepare(tyro.cli(PrepareOptions, args=arguments, prog="vae prepare")))


if __name__ == "__main__":
    main()
