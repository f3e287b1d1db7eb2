"""A set of images: files of images and tables, their rows, and the columns that can be kept."""

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import pyarrow as pa

from jobs.images.batches import PARTITION, SOURCE
from jobs.images.class_names import common_names, names_of
from jobs.images.layout import Layout, plain_type
from jobs.images.units import Piece
from vae_core.errors import UserError

RESERVED = ("file", "row", "reason", "image")  # columns that tables of results, of errors and packed ones have
_PREFIX = "input_"  # of columns of these names


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
