"""Input images as a list: which files there are, how many rows they hold, and which columns can be kept.

Only footers of Parquet files are read here, many at a time; image files are not opened. What is wrong with the
whole input is a `UserError`; what is wrong with one file among others makes it a bad file.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import pyarrow as pa

from jobs.images.contract import MAX_ENCODED_BYTES
from jobs.images.layout import Layout, plain_type
from jobs.images.location import Found, locate, search
from jobs.images.parquet import BadFile, Version, one_line, open_footer
from jobs.images.units import Piece, Unit, gather
from vae_core.errors import UserError

__all__ = ["RESERVED", "ImageFile", "ImageSet", "Piece", "Unit", "find_images", "plan_units"]

IMAGE_SUFFIXES = (
    *(".png", ".jpg", ".jpeg", ".jpe", ".webp", ".gif", ".bmp", ".dib"),
    *(".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm", ".avif", ".jp2"),
)
PARQUET_SUFFIXES = (".parquet", ".parq", ".pq")

RESERVED = ("file", "row", "reason")  # columns that every table of results or errors has itself

UNIT_ROWS = 32_768
UNIT_BYTES = 64 << 20  # decoded
SLICES = 8  # a slice is read from its row group's start, so many slices would read it many times
_COMPRESSION = 4  # decoded bytes per encoded byte, where nothing better is known
_THREADS = 16


class ImageFile(NamedTuple):
    """A file of the input."""

    url: str  # an absolute path or a URL
    size: int  # bytes
    row_groups: tuple[int, ...]  # rows of each; empty for an image file
    image_bytes: int  # about how many bytes an image takes when decoded
    layout: Layout | None  # None for an image file
    columns: pa.Schema  # besides the images; an image file has none

    @property
    def rows(self) -> int:
        """How many images."""
        return 1 if self.layout is None else sum(self.row_groups)

    def pieces(self) -> Iterator[Piece]:
        """One piece for every row group that has rows; one for an image file."""
        if self.layout is None:
            yield Piece(self.url, -1, 0, 1, 0)
            return
        first_row = 0
        for number, rows in enumerate(self.row_groups):
            if rows:
                yield Piece(self.url, number, 0, rows, first_row)
            first_row += rows


@dataclass(frozen=True)
class ImageSet:
    """The images that a job reads, in the order of their files' addresses."""

    files: tuple[ImageFile, ...]
    bad_files: tuple[tuple[str, str], ...]  # (file, reason)

    @cached_property
    def rows(self) -> int:
        """How many images, bad files not counted."""
        return sum(file.rows for file in self.files)

    @property
    def fingerprint(self) -> str:
        """A hash of which files there are, their sizes and rows: another one means that the input is another."""
        digest = hashlib.sha256()
        for file in self.files:
            digest.update(f"{file.url}\0{file.size}\0{file.row_groups}\n".encode())
        return digest.hexdigest()

    @property
    def pieces(self) -> list[Piece]:
        """Every row group, and every image file."""
        return [piece for file in self.files for piece in file.pieces()]

    @cached_property
    def columns(self) -> pa.Schema:
        """The columns that can be kept: those that every file has, in types that agree."""
        distinct = list(dict.fromkeys(file.columns for file in self.files))
        common = [
            name
            for name in distinct[0].names
            if name not in RESERVED and all(schema.names.count(name) == 1 for schema in distinct)
        ]
        fields = []
        for name in common:
            schemas = [pa.schema([(name, plain_type(schema.field(name).type))]) for schema in distinct]
            try:
                fields.append(pa.unify_schemas(schemas, promote_options="permissive").field(0))
            except pa.ArrowTypeError:
                continue  # a number here and a text there: nothing to promise
        return pa.schema(fields)

    def keep(self, names: Iterable[str]) -> pa.Schema:
        """The types of the columns to be kept, for `read_images`.

        Raises:
            UserError: a column is missing, or named twice.
        """
        wanted = list(names)
        for name in wanted:
            if name in RESERVED:
                raise UserError(f"the column {name} cannot be kept: the output has its own; rename it in the input")
            if name not in self.columns.names:
                there = ", ".join(self.columns.names) or "none"
                few = "" if len(self.files) == 1 else " in every file"
                raise UserError(f"the images have no column {name}{few}; columns that can be kept: {there}")
            if wanted.count(name) > 1:
                raise UserError(f"the column {name} is named twice; name each column once")
        return pa.schema([self.columns.field(name) for name in wanted])


def find_images(paths: Sequence[str]) -> ImageSet:
    """List the images at files, folders (all below them), patterns and URLs.

    Below a folder, Parquet files and image files count, by the ends of their names. A file that cannot be read
    is a bad file. The same files give the same set, in whatever order or however often they are named.

    Raises:
        UserError: a path matches nothing, no file can be read, or there is not one row.
    """
    if not paths:
        raise UserError("no images were named; give files, folders, patterns or URLs")
    found: dict[str, Found] = {}
    for path in paths:
        images = _images_among(search(path))
        if not images:
            endings = "Parquet files and images such as PNG or JPEG"
            raise UserError(f"no images at {path}: no file there ends as {endings} do; check the path")
        for item in images:
            found[item.url] = item
    ordered = [found[url] for url in sorted(found)]
    files: list[ImageFile] = []
    bad: list[tuple[str, str]] = []
    with ThreadPoolExecutor(_THREADS) as pool:
        parquet = [item for item in ordered if _is_parquet(item)]
        inspected = dict(zip(parquet, pool.map(_parquet_file, parquet), strict=True))
        for item in ordered:
            result = inspected[item] if item in inspected else _image_file(item)
            if isinstance(result, ImageFile):
                files.append(result)
            else:
                bad.append((item.url, result))
    if not files:
        url, reason = bad[0]
        more = f" (and {len(bad) - 1} files more)" if len(bad) > 1 else ""
        raise UserError(f"cannot read {url}{more}: {reason}; give files that hold images")
    images_found = ImageSet(tuple(files), tuple(bad))
    if images_found.rows == 0:
        raise UserError(f"no images at {', '.join(paths)}: the files are there but hold no rows; give others")
    return images_found


def plan_units(images: ImageSet, unit_rows: int | None = None) -> list[Unit]:
    """Cut the input into units of about `unit_rows` rows; the same units for the same input.

    By default a unit has a 64th of the rows, between 1,024 and 32,768 of them, and at most 64 MiB decoded; and
    no row group is cut into more than eight slices.
    """
    if unit_rows is not None and unit_rows < 1:
        raise UserError(f"--unit-rows must be at least 1, not {unit_rows}")
    share = min(max(images.rows // 64, 1024), UNIT_ROWS)
    image_bytes = max(1, sum(file.image_bytes * file.rows for file in images.files) // images.rows)
    target = unit_rows or max(1, min(share, UNIT_BYTES // image_bytes))

    def pieces() -> Iterator[Piece]:
        for file in images.files:
            for piece in file.pieces():
                yield from piece.cut(unit_rows or max(target, -(-piece.rows // SLICES)))

    return gather(pieces(), target, images.bad_files)


def _images_among(found: list[Found]) -> list[Found]:
    """Leave out what is no image by its name, unless it was named itself."""
    names = {item.name for item in found}
    jobs = {name.removesuffix("/plan.json") for name in names if name.endswith("/plan.json")}
    kept = []
    for item in found:
        if item.named or item.name.lower().endswith(IMAGE_SUFFIXES):
            kept.append(item)
        elif item.name.lower().endswith(PARQUET_SUFFIXES):
            folder, _, file = item.name.rpartition("/")
            job, _, kind = folder.rpartition("/")
            # Spark and Delta keep books under names with an underscore; our own jobs keep their errors apart.
            if file.startswith("_") or "/_" in folder or (kind == "errors" and job in jobs):
                continue
            if job in jobs and f"{job}/summary.json" not in names:
                raise UserError(f"{job} holds a job that has not ended; run the command that made it again")
            kept.append(item)
    return kept


def _image_file(item: Found) -> ImageFile | str:
    """One image; whether it can be decoded shows when it is read."""
    if item.size > MAX_ENCODED_BYTES:
        return f"the file has {item.size:,} bytes, more than any image may"
    return ImageFile(item.url, item.size, (), item.size * _COMPRESSION, None, pa.schema([]))


def _parquet_file(item: Found) -> ImageFile | str:
    """What a Parquet file holds, or why it cannot be read."""
    try:
        footer = open_footer(item.url, Version(item.size, item.changed))
    except BadFile as error:
        return str(error)
    except OSError as error:
        raise UserError(f"cannot read {item.url}: {one_line(error)}; check that its storage can be reached") from error
    image_bytes = footer.layout.pixels or _COMPRESSION * footer.encoded_bytes
    return ImageFile(item.url, item.size, footer.row_groups, image_bytes, footer.layout, footer.columns)


def _is_parquet(item: Found) -> bool:
    """By the name's end, or for a file that was named itself, by how it begins."""
    name = item.name.lower()
    if not item.named or name.endswith((*IMAGE_SUFFIXES, *PARQUET_SUFFIXES)):
        return name.endswith(PARQUET_SUFFIXES)
    filesystem, path = locate(item.url)
    try:
        with filesystem.open_input_file(path) as stream:
            return bool(stream.read(4) == b"PAR1")
    except OSError:
        return False
