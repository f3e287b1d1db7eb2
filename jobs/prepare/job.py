"""Convert images in any layout to the packed layout, the fastest to read."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from export.images.contract import ImageContract
from export.storage import Folder
from export.tiling import Tiling
from jobs.bulk import finish, run
from jobs.bulk.commit import ERRORS, first_error, tally
from jobs.bulk.dataset_card import write_dataset_card
from jobs.bulk.plan import reading_summary
from jobs.discoveries.errors import ReasonCounter, describe_left_out
from jobs.discoveries.walk import walk
from jobs.images.image_set import ImageSet
from jobs.images.source import find_images, plan_units
from jobs.images.survey import survey
from jobs.images.units import Unit
from jobs.prepare.options import PrepareOptions
from jobs.prepare.task import PackTask
from jobs.prepare.vision_sets import PREFIX, VisionSet
from jobs.program import console
from jobs.report.wording import counted
from vae_core.errors import InputError, UserError


def prepare(options: PrepareOptions) -> dict[str, Any]:
    """Convert the images and return the summary.

    Raises:
        UserError: there is nothing to read, the output belongs to something else, or no image could be converted.
        JobFailed: the job failed; the same call resumes it.
    """
    output = Folder.at(options.output)
    task, units, reads, others = _plan(options)
    totals = run(task, units, output, options, reads)
    if totals.summary is not None:
        with reading_summary(output):
            said = _sentence(totals.summary)
        console.result(f"{output.url} is already finished: {said}", summary=totals.summary)
        return totals.summary
    reasons = ReasonCounter()
    prepared, errors = tally(output.child(task.results)), walk(output.child(ERRORS), [reasons])
    if prepared.rows == 0:
        first = first_error(output)
        raise InputError(
            f"none of the {errors.rows:,} images could be prepared; the first ({first['file']}): {first['reason']}; "
            f"see all reasons in {output.url}/{ERRORS}"
        )
    rows, bad_files = sum(unit.rows for unit in units), sum(len(unit.bad_files) for unit in units)
    summary = {
        "rows": rows,
        "prepared": prepared.rows if task.tiling is None else rows - errors.rows + bad_files,
        "errors": errors.rows,
        "other_files": dict(others),
        "left_out": reasons.counts,
        **({} if task.tiling is None else {"tiles": prepared.rows, "tiling": task.tiling.to_json()}),
        "shape": list(task.contract.shape),
        "columns": task.columns.names,
        "rows_per_second": round(totals.rows_per_second, 1),
        "engine": totals.engine,
    }
    tables = {"images": (f"{task.results}/*.parquet", prepared.rows), ERRORS: (f"{ERRORS}/*.parquet", errors.rows)}
    write_dataset_card(output, "Packed images", tables)
    finish(output, summary)
    console.result(f"{output.url}: {_sentence(summary)}", summary=summary)
    return summary


def _plan(options: PrepareOptions) -> tuple[PackTask, list[Unit], list[str], Mapping[str, int]]:
    """The task, its units, some of the input files, to check that workers can read them, and `ImageSet.others`."""
    named = [source for source in options.source if source.startswith(PREFIX)]
    if not named:
        images = find_images(options.source, options.output, options)
        surveyed = survey(images)
        channels, height, width = surveyed.shape
        tiling = None if options.tile is None else Tiling(options.tile, options.tile, options.overlap)
        is_free = options.size is not None or tiling is not None
        contract = _contract(options, (surveyed.channels if is_free else channels, height, width))
        console.note("prepare", surveyed.table(contract))
        reads = [images.files[0].url, images.files[-1].url]
        kept = _kept(options, images)
        task = PackTask(contract, kept, images.fingerprint, tiling=tiling)
        return task, plan_units(images, kept=kept), reads, images.others
    if options.tile is not None:
        raise UserError(f"--tile must be given with image files or tables, got {named[0]}, whose images are small")
    if len(options.source) > 1:
        raise UserError(f"{named[0]} cannot be combined with other sources; prepare each separately")
    root = str(Path(options.root).expanduser().absolute())
    source = VisionSet(named[0].removeprefix(PREFIX), options.split, root)
    columns = source.columns()
    for name in options.keep or ():
        if name not in columns.names:
            available = ", ".join(columns.names) or "none"
            raise UserError(f"{source.address} has no column {name}; columns that can be kept: {available}")
    if options.keep is not None:
        columns = pa.schema([columns.field(name) for name in options.keep])
    task = PackTask(_contract(options, source.shape()), columns, source.address, source)
    return task, source.units(), [], {}


def _contract(options: PrepareOptions, most: tuple[int, int, int]) -> ImageContract:
    channels, height, width = most
    if options.tile is not None:
        return ImageContract(channels, options.tile, options.tile, options.resize, larger=True)
    if options.size is None:
        return ImageContract(channels, height, width, options.resize)
    return ImageContract(channels, options.size, options.size, resize=True)


def _kept(options: PrepareOptions, images: ImageSet) -> pa.Schema:
    return images.columns if options.keep is None else images.keep(options.keep)


def _sentence(summary: dict[str, Any]) -> str:
    channels, height, width = summary["shape"]
    left_out = describe_left_out(summary["left_out"], summary["prepared"] + summary["errors"])
    images = counted(summary["prepared"], "image")
    tiles = f", cut into {counted(summary['tiles'], 'tile')}" if "tiles" in summary else ""
    shape = f"of {width}×{height} with {counted(channels, 'channel')}"
    return f"{images}{tiles} {shape}{left_out and f'; {left_out}'}"
