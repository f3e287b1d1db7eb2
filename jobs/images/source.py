"""List the input: its files, their row counts, and the columns that can be kept; and cut it into units.

Reads only the footers of Parquet files, in parallel; image files are not opened, unless their names have no suffix. A
problem with the whole input raises `UserError`; a problem with one of several files makes it a bad file; a file that is
no image is counted by its kind.
"""

import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from urllib.parse import unquote

import pyarrow as pa

from export.images.contract import MAX_ENCODED_BYTES
from export.storage import Folder
from jobs.bulk.plan import SUMMARY
from jobs.images.batches import SOURCE, partition_value
from jobs.images.choice import MARKS, choose, is_parquet
from jobs.images.image_set import ImageFile, ImageSet
from jobs.images.location import Found, search
from jobs.images.options import ColumnOptions
from jobs.images.parquet import BadFile, Version, one_line, open_footer
from jobs.images.units import Piece, Unit, gather
from vae_core.errors import InputError, StorageFailed, UserError, raising

UNIT_ROWS = 32_768
UNIT_BYTES = 64 << 20  # decoded
SLICES = 8  # each slice reads its row group from the start, so more slices would reread more
_COMPRESSION = 4  # decoded bytes per encoded byte, assumed where the size is unknown
_THREADS = 16
_NO_CHOICE = ColumnOptions()
_SHOWN = 8  # kinds of other files in a sentence


@raising(InputError)
def find_images(paths: Sequence[str], output: str | None = None, columns: ColumnOptions = _NO_CHOICE) -> ImageSet:
    """List the images at files, folders (recursively), patterns and URLs.

    Below a folder, Parquet and image files are recognised by suffix, or by their first bytes where the name has none.
    Outputs of jobs below a folder are left out. An unreadable file becomes a bad file. The result does not depend on
    the order or repetition of `paths`.

    Args:
        paths: arguments of `jobs.images.location.search`.
        output: folder of the job that reads the images, which is left out even before it has a plan.
        columns: how tables store images.

    Raises:
        InputError: a path matches nothing, no file can be read, there are no rows, or black has the value of white.
        StorageFailed: the storage cannot be reached, or a file must not be read.
    """
    levels = columns.pixel_range
    if levels is not None and not (levels[0] != levels[1] and math.isfinite(levels[0]) and math.isfinite(levels[1])):
        raise UserError(f"--pixel-range must give two different numbers, got {levels[0]:g} {levels[1]:g}")
    if not paths:
        raise UserError("--images must name at least one file, folder, pattern or URL, got none")
    own = None if output is None else Folder.at(output).address.rstrip("/")
    found: dict[str, Found] = {}
    refused: dict[str, str] = {}
    others: dict[str, str] = {}
    for path in paths:
        chosen = choose(path, search(path, (*MARKS, SUMMARY)), own)
        if not chosen.found and not chosen.refused:
            what = _in_words(Counter(chosen.others.values()))
            raise UserError(f"no images at {path}{what and f': only {what}'}; give folders of image or Parquet files")
        found.update({item.url: item for item in chosen.found})
        refused.update(chosen.refused)
        others.update(chosen.others)
    ordered = [found[url] for url in sorted(found)]
    files: list[ImageFile] = []
    bad: list[tuple[str, str]] = []
    with ThreadPoolExecutor(_THREADS) as pool:
        parquet = [item for item in ordered if is_parquet(item)]
        inspect = partial(_parquet_file, column=columns.image_column or "", levels=levels)
        inspected = dict(zip(parquet, pool.map(inspect, parquet), strict=True))
        for item in ordered:
            result = inspected[item] if item in inspected else _image_file(item)
            if isinstance(result, ImageFile):
                files.append(result)
            else:
                bad.append((item.url, result))
    bad = sorted([*bad, *refused.items()]) if refused else bad
    if not files:
        url, reason = bad[0]
        more = f" (and {len(bad) - 1} more)" if len(bad) > 1 else ""
        raise UserError(f"cannot read {url}{more}: {reason}; give files that contain images")
    counts = sorted(Counter(others.values()).items(), key=lambda item: (-item[1], item[0]))
    images_found = ImageSet(tuple(files), tuple(bad), dict(counts))
    if images_found.rows == 0:
        raise UserError(f"no images at {', '.join(paths)}: the files have no rows; give files that contain images")
    return images_found


def describe_others(others: Mapping[str, int]) -> str:
    """What was found beside the images, in a sentence; empty if nothing was."""
    return f"not images, left out: {_in_words(others)}" if others else ""


def _in_words(others: Mapping[str, int]) -> str:
    """Kinds with their counts: "12 .txt files, 1 broken link"."""
    shown = list(others.items())[:_SHOWN]
    words = [
        f"{count:,} {kind if count == 1 else re.sub('(file|folder|link)', lambda noun: f'{noun[1]}s', kind, count=1)}"
        for kind, count in shown
    ]
    rest = sum(others.values()) - sum(count for _, count in shown)
    return ", ".join([*words, f"{rest:,} others"] if rest else words)


def plan_units(images: ImageSet, unit_rows: int | None = None, kept: pa.Schema | None = None) -> list[Unit]:
    """Split the input into units of about `unit_rows` rows; deterministic.

    By default a unit has 1/64 of the rows, at least 1,024 and at most 32,768, and about 64 MiB of decoded images and
    `kept` columns at most; no row group is split into more than eight slices.
    """
    if unit_rows is not None and unit_rows < 1:
        raise UserError(f"--unit-rows must be at least 1, got {unit_rows}")
    target = unit_rows or min(max(images.rows // 64, 1024), UNIT_ROWS)
    limits = {} if unit_rows else {file.url: max(1, UNIT_BYTES // _row_bytes(file, kept)) for file in images.files}

    def pieces() -> Iterator[Piece]:
        for file in images.files:
            most = min(target, limits.get(file.url, target))
            for piece in file.pieces():
                yield from piece.cut(unit_rows or max(most, -(-piece.rows // SLICES)))

    return gather(pieces(), target, images.bad_files, limits)


def _row_bytes(file: ImageFile, kept: pa.Schema | None) -> int:
    """Approximate size of a decoded image of a file with its kept columns, at least 1."""
    if kept is None or not file.column_bytes:
        return max(1, file.image_bytes)
    names = {(field.metadata or {}).get(SOURCE, field.name.encode()).decode() for field in kept}
    return max(1, file.image_bytes + sum(size for name, size in file.column_bytes if name in names))


def _image_file(item: Found) -> ImageFile | str:
    """One image file; decoding errors surface when it is read."""
    if item.size > MAX_ENCODED_BYTES:
        return f"an image file must have at most {MAX_ENCODED_BYTES:,} bytes, got {item.size:,}"
    nothing, partitions = pa.schema([]), _partitions(item.below)
    return ImageFile(
        item.url, item.size, (), item.size * _COMPRESSION, None, nothing, partitions=partitions, changed=item.changed
    )


def _partitions(below: str) -> tuple[tuple[str, str | None], ...]:
    """The names and values of the folders `name=value` of a path."""
    names = dict.fromkeys(unquote(part.partition("=")[0]) for part in below.split("/")[:-1] if "=" in part[1:])
    return tuple((name, partition_value(below, name)) for name in names)


def _parquet_file(item: Found, column: str, levels: tuple[float, float] | None) -> ImageFile | str:
    """The contents of a Parquet file, or the reason why it cannot be read."""
    try:
        footer = open_footer(item.url, Version(item.size, item.changed), column, levels)
    except BadFile as error:
        return str(error)
    except OSError as error:
        raise StorageFailed(f"cannot read {item.url}: {one_line(error)}") from error
    image_bytes = footer.layout.pixels or _COMPRESSION * footer.encoded_bytes
    return ImageFile(
        item.url, item.size, footer.row_groups, image_bytes, footer.layout, footer.columns, column, levels,
        footer.column_bytes, _partitions(item.below), item.changed,
    )  # fmt: skip
