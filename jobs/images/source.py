"""List the input: its files, their row counts, and the columns that can be kept.

Reads only the footers of Parquet files, in parallel; image files are not opened, unless their names have no suffix. A
problem with the whole input raises `UserError`; a problem with one of several files makes it a bad file; a file that is
no image is counted by its kind.
"""

import hashlib
import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import NamedTuple
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.fs as pafs

from export.images.contract import MAX_ENCODED_BYTES
from export.images.header import looks_like_image
from export.storage import Folder
from jobs.bulk.plan import PLAN, SUMMARY, kind_of_plan
from jobs.images.batches import PARTITION, SOURCE, partition_value
from jobs.images.class_names import common_names, names_of
from jobs.images.layout import Layout, plain_type
from jobs.images.location import Found, Listing, locate, search
from jobs.images.options import ColumnOptions
from jobs.images.parquet import BadFile, Version, one_line, open_footer
from jobs.images.units import Piece, Unit, gather
from vae_core.errors import InputError, StorageFailed, UserError, raising

__all__ = ["RESERVED", "ImageFile", "ImageSet", "Piece", "Unit", "find_images", "plan_units"]

IMAGE_SUFFIXES = (
    *(".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".jfi", ".jif", ".webp", ".gif", ".bmp", ".dib"),
    *(".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm", ".avif", ".avifs", ".jp2", ".jpf", ".j2k"),
)
PARQUET_SUFFIXES = (".parquet", ".parq", ".pq")

RESERVED = ("file", "row", "reason", "image")  # columns that tables of results, of errors and packed ones have
_PREFIX = "input_"  # of columns of these names

UNIT_ROWS = 32_768
UNIT_BYTES = 64 << 20  # decoded
SLICES = 8  # each slice reads its row group from the start, so more slices would reread more
_COMPRESSION = 4  # decoded bytes per encoded byte, assumed where the size is unknown
_THREADS = 16
_SUFFIX = re.compile(r"\.[a-z][a-z0-9_+-]{0,15}", re.IGNORECASE)  # `.heic`, but not the `.1` of `scan.1`
_START = 1 << 16  # bytes of a file that tell what it is
_NO_CHOICE = ColumnOptions()
_SHOWN = 8  # kinds of other files in a sentence
_PACKED = ("prepare", "sample")  # jobs whose results are images


class ImageFile(NamedTuple):
    """An input file."""

    url: str  # absolute path or URL
    size: int  # bytes
    row_groups: tuple[int, ...]  # number of rows of each; empty for an image file
    image_bytes: int  # approximate size of a decoded image
    layout: Layout | None  # None for an image file
    columns: pa.Schema  # columns other than the image; empty for an image file
    column: str = ""  # that holds the images, if it was named
    levels: tuple[float, float] | None = None  # values of black and white, if they were given
    column_bytes: tuple[tuple[str, int], ...] = ()  # approximate size of a value of each column
    partitions: tuple[tuple[str, str | None], ...] = ()  # name and value of each Hive partition below the argument
    changed: int | None = None  # modification time in nanoseconds, if the storage reports it

    @property
    def rows(self) -> int:
        """Number of images."""
        return 1 if self.layout is None else sum(self.row_groups)

    def pieces(self) -> Iterator[Piece]:
        """One piece per non-empty row group, or one for an image file."""
        if self.layout is None:
            yield Piece(self.url, -1, 0, 1, 0)
            return
        first_row = 0
        for number, rows in enumerate(self.row_groups):
            if rows:
                yield Piece(self.url, number, 0, rows, first_row, self.column, self.levels)
            first_row += rows


@dataclass(frozen=True)
class ImageSet:
    """The input images of a job, ordered by file address."""

    files: tuple[ImageFile, ...]
    bad_files: tuple[tuple[str, str], ...]  # (file, reason)
    others: Mapping[str, int] = field(default_factory=dict)
    """How many other files there are of each kind, the most frequent first: ".txt file", "broken link"."""

    @cached_property
    def rows(self) -> int:
        """Number of images, without bad files."""
        return sum(file.rows for file in self.files)

    @property
    def fingerprint(self) -> str:
        """Hash of the files' addresses, sizes, times of change and row counts; changes when the input changes."""
        digest = hashlib.sha256()
        for file in self.files:
            digest.update(f"{file.url}\0{file.size}\0{file.changed}\0{file.row_groups}\n".encode())
            if file.column or file.levels:
                digest.update(f"{file.column}\0{file.levels}\n".encode())
        return digest.hexdigest()

    @property
    def pieces(self) -> list[Piece]:
        """One piece per row group or image file."""
        return [piece for file in self.files for piece in file.pieces()]

    @cached_property
    def columns(self) -> pa.Schema:
        """The columns that can be kept: present in every file, and the values of Hive partitions.

        Types that differ become one that holds the values of all, in the end text. A column whose name a job needs for
        itself is kept as `input_` and its name.
        """
        # Equal schemas may name classes differently: metadata does not count in a comparison.
        distinct = list({(file.columns, names_of(file.columns)): file.columns for file in self.files}.values())
        common = [name for name in distinct[0].names if all(schema.names.count(name) == 1 for schema in distinct)]
        fields = []
        for name in common:
            if (joint := _joint_type([schema.field(name).type for schema in distinct])) is not None:
                kept = kept_name(name)
                metadata = common_names([schema.field(name) for schema in distinct]) or {}
                metadata |= {} if kept == name else {SOURCE: name.encode()}
                fields.append(pa.field(kept, joint, metadata=metadata or None))
        taken = {name for schema in distinct for name in schema.names}
        parts = [dict(file.partitions) for file in self.files]
        for name in parts[0]:
            if name not in taken and all(name in part for part in parts):
                values = {part[name] for part in parts} - {None}
                whole = all(re.fullmatch("0|-?[1-9][0-9]{0,17}", str(value)) for value in values)
                joint = pa.int64() if values and whole else pa.string()
                fields.append(pa.field(kept_name(name), joint, metadata={PARTITION: name.encode()}))
        return pa.schema(fields)

    def keep(self, names: Iterable[str]) -> pa.Schema:
        """Schema of the named columns, for `read_images`.

        Raises:
            UserError: a column is missing, cannot be kept, or is named twice.
        """
        wanted = [kept_name(name) for name in names]
        for name in wanted:
            if name not in self.columns.names:
                available = ", ".join(self.columns.names) or "none"
                scope = "" if len(self.files) == 1 else " in every file"
                given = name.removeprefix(_PREFIX) if name.removeprefix(_PREFIX) in RESERVED else name
                repeated = next((file.url for file in self.files if file.columns.names.count(given) > 1), None)
                if repeated is not None:
                    raise UserError(f"one column must be named {given}, got several in {repeated}; rename the others")
                types = {file.columns.field(given).type: file.url for file in self.files if given in file.columns.names}
                if len(types) > 1:
                    differing = " and ".join(f"{kind} in {url}" for kind, url in list(types.items())[:2])
                    raise UserError(f"the column {given} must have one type, got {differing}; keep another column")
                raise UserError(f"the images have no column {given}{scope}; columns that can be kept: {available}")
            if self.columns.names.count(name) > 1:
                given = name.removeprefix(_PREFIX)
                raise UserError(
                    f"the column {given} is kept as {name}, but the images have a column {name}, too; rename it"
                )
            if wanted.count(name) > 1:
                raise UserError(f"columns must be distinct, got {name} twice")
        return pa.schema([self.columns.field(name) for name in wanted])


def kept_name(name: str) -> str:
    """The name under which an input column is kept: its own, unless a job needs that for itself."""
    return f"{_PREFIX}{name}" if name in RESERVED else name


def _joint_type(types: Sequence[pa.DataType]) -> pa.DataType | None:
    """A type to which values of all types can be cast; None if there is none."""
    plain = [plain_type(each) for each in types]
    try:
        schemas = [pa.schema([("", each)]) for each in plain]
        return pa.unify_schemas(schemas, promote_options="permissive").field(0).type
    except pa.ArrowTypeError:  # e.g. numbers in one file and text in another
        is_text = all(pa.types.is_primitive(each) or pa.types.is_string(each) for each in plain)
        return pa.string() if is_text else None


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
        chosen = _choose(path, search(path, (*_MARKS, SUMMARY)), own)
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
        parquet = [item for item in ordered if _is_parquet(item)]
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


class _Chosen(NamedTuple):
    """Of a listing."""

    found: list[Found]
    refused: dict[str, str]  # address → reason
    others: dict[str, str]  # address → kind


def _row_bytes(file: ImageFile, kept: pa.Schema | None) -> int:
    """Approximate size of a decoded image of a file with its kept columns, at least 1."""
    if kept is None or not file.column_bytes:
        return max(1, file.image_bytes)
    names = {(field.metadata or {}).get(SOURCE, field.name.encode()).decode() for field in kept}
    return max(1, file.image_bytes + sum(size for name, size in file.column_bytes if name in names))


def _choose(argument: str, listing: Listing, own: str | None) -> _Chosen:
    """What of a listing is images; a file that is named is one, whatever its name."""
    chosen = _Chosen([], {}, {item.below: item.kind for item in listing.ignored})
    for refused in listing.refused:
        if refused.is_folder or refused.below.lower().endswith((*IMAGE_SUFFIXES, *PARQUET_SUFFIXES)):
            chosen.refused[refused.below] = refused.reason
        else:
            chosen.others[refused.below] = _kind(refused.below)
    outputs = _outputs(listing.marks)
    if (kind := outputs.pop("", None)) is not None:
        _check_finished(argument, kind, listing)
    unnamed: list[Found] = []
    for item in listing.files:
        folder, _, name = item.below.rpartition("/")
        lower = name.lower()
        job = next((outputs[above] for above in _above(folder) if above in outputs), None)
        if item.named:
            chosen.found.append(item)
        elif own is not None and item.name.startswith(f"{own}/") and _lies_above(item, own):
            chosen.others[item.url] = "file in the output of this job"
        elif job is not None:
            chosen.others[item.url] = f"file in an output of vae {job}"
        elif kind is not None and folder.split("/")[0] != "images":
            continue  # what a job writes beside its images: errors, its report
        elif lower.endswith(IMAGE_SUFFIXES):
            chosen.found.append(item)
        elif lower.endswith(PARQUET_SUFFIXES):
            # Spark and Delta store metadata under names with an underscore, but partitions, too: `_year=2020`.
            if any(part.startswith("_") and "=" not in part for part in item.below.split("/")):
                chosen.others[item.url] = "Parquet file under a name with an underscore"
            else:
                chosen.found.append(item)
        elif _SUFFIX.fullmatch(_suffix(name)):
            chosen.others[item.url] = _kind(name)
        else:
            unnamed.append(item)
    if unnamed:
        with ThreadPoolExecutor(_THREADS) as pool:
            for item, start in zip(unnamed, pool.map(_start, unnamed), strict=True):
                if looks_like_image(start) or start.startswith(b"PAR1"):
                    chosen.found.append(item)
                else:
                    chosen.others[item.url] = _kind(item.below)
        chosen.found.sort()
    return chosen


def _outputs(files: Sequence[Found]) -> dict[str, str]:
    """The folders of jobs, runs and bundles, relative to the argument, with the command that wrote each."""
    outputs = {}
    for item in files:
        folder, _, name = item.below.rpartition("/")
        if name not in _MARKS:
            continue
        start = _start(item)
        command = kind_of_plan(start) if name == PLAN else _MARKS[name][1] if _MARKS[name][0].match(start) else None
        if command is not None:
            outputs[folder] = command
    return outputs


# Files that mark the outputs of commands: how they begin, and the command.
_MARKS = {
    PLAN: (re.compile(rb""), ""),
    "run.json": (re.compile(rb"\{\s*\"format\": \d+,\s*\"model\": "), "train"),
    "manifest.json": (re.compile(rb"\{\s*\"format\": \d+,\s*\"statistics\": "), "export"),
}


def _check_finished(argument: str, kind: str, listing: Listing) -> None:
    """Raise a UserError unless the output of a job holds images, all of them."""
    if kind not in _PACKED:
        raise UserError(f"{argument} is an output of vae {kind}, which holds no images to read; give its input")
    if not any(item.below == SUMMARY for item in listing.marks):
        raise UserError(f"{argument} must hold a finished job, got one without summary.json; rerun its command first")


def _above(folder: str) -> Iterator[str]:
    """A folder and all folders above it, the deepest first."""
    while folder:
        yield folder
        folder = folder.rpartition("/")[0]


def _lies_above(item: Found, own: str) -> bool:
    """Whether an output lies below the argument that an item was found by, not above it."""
    return len(own) >= len(item.name) - len(item.below)


def _suffix(name: str) -> str:
    stem, dot, suffix = name.rpartition(".")
    return f".{suffix}" if dot and stem else ""


def _kind(name: str) -> str:
    """The kind of a file that is no image."""
    suffix = _suffix(name.rpartition("/")[2]).lower()
    return f"{suffix} file" if _SUFFIX.fullmatch(suffix) else "other file"


def _start(item: Found) -> bytes:
    filesystem, path = locate(item.url)
    try:
        with filesystem.open_input_stream(path, buffer_size=0) as stream:
            return bytes(stream.read(_START if item.below.endswith(".json") else 64))
    except OSError as error:
        if isinstance(filesystem, pafs.LocalFileSystem) or isinstance(error, FileNotFoundError):
            return b""
        raise StorageFailed(f"cannot read {item.url}: {one_line(error)}") from error


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


def _is_parquet(item: Found) -> bool:
    """By suffix, or by magic bytes for a file without a suffix of either kind."""
    name = item.name.lower()
    if name.endswith((*IMAGE_SUFFIXES, *PARQUET_SUFFIXES)):
        return name.endswith(PARQUET_SUFFIXES)
    return _start(item).startswith(b"PAR1")
