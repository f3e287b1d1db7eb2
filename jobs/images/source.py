"""List the input: its files, their row counts, and the columns that can be kept.

Reads only the footers of Parquet files, in parallel; image files are not opened. A problem with the whole input
raises `UserError`; a problem with one of several files makes it a bad file.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import pyarrow as pa

from export.images.contract import MAX_ENCODED_BYTES
from jobs.images.class_names import common_names, names_of
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

RESERVED = ("file", "row", "reason")  # columns that result and error tables add themselves

UNIT_ROWS = 32_768
UNIT_BYTES = 64 << 20  # decoded
SLICES = 8  # each slice reads its row group from the start, so more slices would reread more
_COMPRESSION = 4  # decoded bytes per encoded byte, assumed where the size is unknown
_THREADS = 16


class ImageFile(NamedTuple):
    """An input file."""

    url: str  # absolute path or URL
    size: int  # bytes
    row_groups: tuple[int, ...]  # number of rows of each; empty for an image file
    image_bytes: int  # approximate size of a decoded image
    layout: Layout | None  # None for an image file
    columns: pa.Schema  # columns other than the image; empty for an image file

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
                yield Piece(self.url, number, 0, rows, first_row)
            first_row += rows


@dataclass(frozen=True)
class ImageSet:
    """The input images of a job, ordered by file address."""

    files: tuple[ImageFile, ...]
    bad_files: tuple[tuple[str, str], ...]  # (file, reason)

    @cached_property
    def rows(self) -> int:
        """Number of images, without bad files."""
        return sum(file.rows for file in self.files)

    @property
    def fingerprint(self) -> str:
        """Hash of the files' addresses, sizes and row counts; changes when the input changes."""
        digest = hashlib.sha256()
        for file in self.files:
            digest.update(f"{file.url}\0{file.size}\0{file.row_groups}\n".encode())
        return digest.hexdigest()

    @property
    def pieces(self) -> list[Piece]:
        """One piece per row group or image file."""
        return [piece for file in self.files for piece in file.pieces()]

    @cached_property
    def columns(self) -> pa.Schema:
        """The columns that can be kept: present in every file, with compatible types."""
        # Equal schemas may name classes differently: metadata does not count in a comparison.
        distinct = list({(file.columns, names_of(file.columns)): file.columns for file in self.files}.values())
        common = [
            name
            for name in distinct[0].names
            if name not in RESERVED and all(schema.names.count(name) == 1 for schema in distinct)
        ]
        fields = []
        for name in common:
            schemas = [pa.schema([(name, plain_type(schema.field(name).type))]) for schema in distinct]
            try:
                field = pa.unify_schemas(schemas, promote_options="permissive").field(0)
            except pa.ArrowTypeError:
                continue  # e.g. numbers in one file and text in another
            fields.append(field.with_metadata(common_names([schema.field(name) for schema in distinct])))
        return pa.schema(fields)

    def keep(self, names: Iterable[str]) -> pa.Schema:
        """Schema of the named columns, for `read_images`.

        Raises:
            UserError: a column is missing, reserved, or named twice.
        """
        wanted = list(names)
        for name in wanted:
            if name in RESERVED:
                raise UserError(f"the column {name} cannot be kept: the name is reserved; rename it in the input")
            if name not in self.columns.names:
                available = ", ".join(self.columns.names) or "none"
                scope = "" if len(self.files) == 1 else " in every file"
                raise UserError(f"the images have no column {name}{scope}; columns that can be kept: {available}")
            if wanted.count(name) > 1:
                raise UserError(f"columns must be distinct, got {name} twice")
        return pa.schema([self.columns.field(name) for name in wanted])


def find_images(paths: Sequence[str]) -> ImageSet:
    """List the images at files, folders (recursively), patterns and URLs.

    Below a folder, Parquet and image files are recognised by suffix. An unreadable file becomes a bad file. The result
    does not depend on the order or repetition of `paths`.

    Raises:
        UserError: a path matches nothing, no file can be read, or there are no rows.
    """
    if not paths:
        raise UserError("--images must name at least one file, folder, pattern or URL, got none")
    found: dict[str, Found] = {}
    for path in paths:
        images = _images_among(search(path))
        if not images:
            raise UserError(f"no images at {path}: no file has the suffix of a Parquet or image file; check the path")
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
        more = f" (and {len(bad) - 1} more)" if len(bad) > 1 else ""
        raise UserError(f"cannot read {url}{more}: {reason}; give files that contain images")
    images_found = ImageSet(tuple(files), tuple(bad))
    if images_found.rows == 0:
        raise UserError(f"no images at {', '.join(paths)}: the files have no rows; give files that contain images")
    return images_found


def plan_units(images: ImageSet, unit_rows: int | None = None) -> list[Unit]:
    """Split the input into units of about `unit_rows` rows; deterministic.

    By default a unit has 1/64 of the rows, at least 1,024 and at most 32,768, and at most 64 MiB decoded; no row group
    is split into more than eight slices.
    """
    if unit_rows is not None and unit_rows < 1:
        raise UserError(f"--unit-rows must be at least 1, got {unit_rows}")
    share = min(max(images.rows // 64, 1024), UNIT_ROWS)
    image_bytes = max(1, sum(file.image_bytes * file.rows for file in images.files) // images.rows)
    target = unit_rows or max(1, min(share, UNIT_BYTES // image_bytes))

    def pieces() -> Iterator[Piece]:
        for file in images.files:
            for piece in file.pieces():
                yield from piece.cut(unit_rows or max(target, -(-piece.rows // SLICES)))

    return gather(pieces(), target, images.bad_files)


def _images_among(found: list[Found]) -> list[Found]:
    """Drop files without an image or Parquet suffix, unless named explicitly."""
    names = {item.name for item in found}
    jobs = {name.removesuffix("/plan.json") for name in names if name.endswith("/plan.json")}
    kept = []
    for item in found:
        if item.named or item.name.lower().endswith(IMAGE_SUFFIXES):
            kept.append(item)
        elif item.name.lower().endswith(PARQUET_SUFFIXES):
            folder, _, file = item.name.rpartition("/")
            job, _, kind = folder.rpartition("/")
            # Spark and Delta store metadata under names with an underscore; our jobs write errors to `errors/`.
            if file.startswith("_") or "/_" in folder or (kind == "errors" and job in jobs):
                continue
            if job in jobs and f"{job}/summary.json" not in names:
                raise UserError(
                    f"{job} must hold a finished job, got one without summary.json; rerun its command first"
                )
            kept.append(item)
    return kept


def _image_file(item: Found) -> ImageFile | str:
    """One image file; decoding errors surface when it is read."""
    if item.size > MAX_ENCODED_BYTES:
        return f"an image file must have at most {MAX_ENCODED_BYTES:,} bytes, got {item.size:,}"
    return ImageFile(item.url, item.size, (), item.size * _COMPRESSION, None, pa.schema([]))


def _parquet_file(item: Found) -> ImageFile | str:
    """The contents of a Parquet file, or the reason why it cannot be read."""
    try:
        footer = open_footer(item.url, Version(item.size, item.changed))
    except BadFile as error:
        return str(error)
    except OSError as error:
        raise UserError(f"cannot read {item.url}: {one_line(error)}; check that the storage is reachable") from error
    image_bytes = footer.layout.pixels or _COMPRESSION * footer.encoded_bytes
    return ImageFile(item.url, item.size, footer.row_groups, image_bytes, footer.layout, footer.columns)


def _is_parquet(item: Found) -> bool:
    """By suffix, or by magic bytes for a file named explicitly."""
    name = item.name.lower()
    if not item.named or name.endswith((*IMAGE_SUFFIXES, *PARQUET_SUFFIXES)):
        return name.endswith(PARQUET_SUFFIXES)
    filesystem, path = locate(item.url)
    try:
        with filesystem.open_input_file(path) as stream:
            return bool(stream.read(4) == b"PAR1")
    except OSError:
        return False
