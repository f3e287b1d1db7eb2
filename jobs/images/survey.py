"""Survey the images: how many there are of each shape, depth and format, and what a model would leave out.

Image files are surveyed by their headers, all of them or `MOST_FILES` evenly spread; Parquet by the first rows of row
groups evenly spread, or by the schema where it declares the shape. An image that stands for others counts as many
times. The same input gives the same survey.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar

import pyarrow as pa

from export.images.contract import NULL, BadImage, ImageContract, describe
from export.images.header import read_header
from jobs.bulk.progress import Progress
from jobs.images.files import read_files
from jobs.images.image_set import ImageSet
from jobs.images.location import locate
from jobs.images.parquet import BadFile, Footer, RowReader, one_line, open_footer
from jobs.images.pixels import stored_shape
from jobs.images.source import describe_others
from jobs.images.units import Piece
from vae_core.errors import InputError

MOST_FILES = 10_000
MOST_ROW_GROUPS, ROWS_OF_EACH = 64, 64

_THREADS = 16
_HEADER_BYTES = 1 << 16  # read first: nearly always enough
_SHOWN = 10  # kinds in a table

T = TypeVar("T")


class Kind(NamedTuple):
    """What images have in common: a shape, a depth and a format; or that they cannot be read, and why."""

    shape: tuple[int, int, int] = (0, 0, 0)  # (C, H, W), upright
    bits: int = 8
    format: str = ""  # "JPEG"; "Parquet" where pixels are stored
    reason: str = ""  # why they cannot be read
    undeclared: int = 0  # bytes of an image whose shape is not declared: readable as the model's, if it has as many

    def fits(self, contract: ImageContract) -> bool:
        """Whether a job with this contract can use such images."""
        if self.reason:
            return self.undeclared == contract.nbytes and not contract.larger
        channels, height, width = self.shape
        if contract.larger:
            is_alike = channels == contract.channels and self.bits == 8
            return height >= contract.height and width >= contract.width and (contract.resize or is_alike)
        return contract.resize or (self.shape == contract.shape and self.bits == 8)

    def __str__(self) -> str:
        if self.undeclared:
            return f"{self.undeclared:,} raw bytes of undeclared shape"
        if self.reason:
            return f"unreadable: {self.reason}"
        return f"{describe(*self.shape)}{', 16 bits' if self.bits > 8 else ''}, {self.format}"


class LeftOut(NamedTuple):
    """Images that a job does not use, of all that were surveyed."""

    kinds: dict[Kind, int]
    rows: int
    of: int

    @property
    def share(self) -> float:
        """Of the images."""
        return self.rows / max(1, self.of)


@dataclass(frozen=True)
class Survey:
    """What images there are."""

    counts: dict[Kind, int]
    """Images of each kind, the most frequent first: estimated if not all were looked at."""
    seen: int
    """Images that were looked at."""
    rows: int
    """Images in all."""
    files: int = 1
    """Files that can be read."""
    bad_files: int = 0
    """Files that cannot be read at all, of which it is not known how many images they have."""
    first_unreadable: str = ""
    """The file of the first image that cannot be read."""
    others: Mapping[str, int] = field(default_factory=dict)
    """Files that are no images, by kind: see `ImageSet.others`."""

    @property
    def bad_share(self) -> float:
        """Of the files, those that cannot be read."""
        return self.bad_files / (self.files + self.bad_files)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of most readable images; of equally many, the shape found first.

        Raises:
            UserError: no image can be read.
        """
        return self._most(lambda kind: kind.shape)

    @property
    def channels(self) -> int:
        """The number of channels of most readable images, whatever their size; raises as `shape` does."""
        return self._most(lambda kind: kind.shape[0])

    def left_out(self, contract: ImageContract) -> LeftOut:
        """What a job with this contract leaves out."""
        kinds = {kind: count for kind, count in self.counts.items() if not kind.fits(contract)}
        return LeftOut(kinds, sum(kinds.values()), sum(self.counts.values()))

    def table(self, contract: ImageContract) -> str:
        """A table of the kinds for a terminal, which says what becomes of each."""
        found = f"looked at {self.seen:,} of {self.rows:,} images"
        beside = [f"  {describe_others(self.others)}"] if self.others else []
        if len(self.counts) == 1 and not self.bad_files:
            (kind,) = self.counts
            return "\n".join([f"{found}: {kind}, {_fate(kind, contract)}", *beside])
        lines = [f"{found}, to be used as {describe(*contract.shape)}:"]
        shown = list(self.counts.items())[:_SHOWN]
        lines += [f"  {count:>9,}  {_fate(kind, contract):<11}  {kind}" for kind, count in shown]
        if len(self.counts) > _SHOWN:
            others = sum(self.counts.values()) - sum(count for _, count in shown)
            lines.append(f"  {others:>9,}  of {len(self.counts) - _SHOWN:,} other kinds")
        if self.bad_files:
            lines.append(f"  {self.bad_files:>9,}  LEFT OUT     files that cannot be read")
        return "\n".join([*lines, *beside])

    def to_json(self, contract: ImageContract) -> dict[str, Any]:
        """For the record of a job."""
        left_out = self.left_out(contract)
        return {
            "images": self.rows,
            "looked_at": self.seen,
            "left_out": left_out.rows,
            "bad_files": self.bad_files,
            "other_files": dict(self.others),
            "kinds": [
                {"kind": str(kind), "images": count, "left_out": kind in left_out.kinds}
                for kind, count in self.counts.items()
            ],
        }

    def _most(self, key: Callable[[Kind], T]) -> T:
        readable: Counter[T] = Counter()
        for kind, count in self.counts.items():
            if not kind.reason:
                readable[key(kind)] += count
        if not readable:
            reason = next(kind.reason for kind in self.counts)
            raise InputError(f"no image can be read ({self.first_unreadable}: {reason}); check the input files")
        return readable.most_common(1)[0][0]


def survey(images: ImageSet) -> Survey:
    """Look at the images."""
    files = [piece for file in images.files if file.layout is None for piece in file.pieces()]
    groups = [piece for file in images.files if file.layout is not None for piece in file.pieces()]
    counts: Counter[Kind] = Counter()
    seen, unreadable = 0, ""
    with ThreadPoolExecutor(_THREADS) as pool, _progress(len(files) + len(groups)) as progress:
        for pieces, most, look in ((files, MOST_FILES, _file_kinds), (groups, MOST_ROW_GROUPS, _row_kinds)):
            found: dict[Kind, float] = {}
            chosen = spread(pieces, most)
            for piece, kinds in zip(chosen, pool.map(look, chosen), strict=True):
                looked = kinds.total()
                seen += looked
                for kind, count in kinds.items():
                    found[kind] = found.get(kind, 0.0) + count / looked * piece.rows
                    unreadable = unreadable or (piece.file if kind.reason else "")
                progress.add(len(pieces) // len(chosen))
            scale = sum(piece.rows for piece in pieces) / max(1, sum(piece.rows for piece in chosen))
            counts.update({kind: max(1, round(count * scale)) for kind, count in found.items()})
    ordered = dict(sorted(counts.items(), key=lambda item: -item[1]))  # stable: of equally many, the first found
    return Survey(ordered, seen, images.rows, len(images.files), len(images.bad_files), unreadable, images.others)


def _fate(kind: Kind, contract: ImageContract) -> str:
    if not kind.fits(contract):
        return "LEFT OUT"
    if contract.larger:
        return "cut"
    converts = not kind.undeclared and (kind.shape != contract.shape or kind.bits != 8)
    return "letterboxed" if converts else "as they are"


def _progress(total: int) -> Progress:
    return Progress("survey", "files", total, only_if_long=True)


def spread(items: Sequence[T], most: int) -> list[T]:
    """At most `most` of the items, evenly spread."""
    if len(items) <= most:
        return list(items)
    return [items[i * len(items) // most] for i in range(most)]


def _file_kinds(piece: Piece) -> Counter[Kind]:
    try:
        return Counter([_encoded_kind(_start(piece))])
    except BadImage:
        pass  # the header may be longer, or its parts may be anywhere in the file
    try:
        (content,) = read_files([piece])
    except OSError as error:
        return Counter([Kind(reason=one_line(error))])
    return Counter([_kind(content)])


def _start(piece: Piece) -> bytes:
    filesystem, path = locate(piece.file)
    try:
        with filesystem.open_input_stream(path, buffer_size=0) as stream:
            return bytes(stream.read(_HEADER_BYTES))
    except OSError as error:
        raise BadImage(str(error)) from error


def _row_kinds(piece: Piece) -> Counter[Kind]:
    """Kinds of the first rows of a row group; of all its rows, where the schema declares their shape."""
    try:
        footer = open_footer(piece.file, column=piece.column, levels=piece.levels)
        if footer.layout.form == "packed" and footer.layout.shape is not None:
            channels, height, width = footer.layout.shape
            return Counter({Kind((channels, height, width), 8, "Parquet"): piece.rows})
        with closing(RowReader()) as reader:
            for stored, _ in reader.rows(piece, (), ROWS_OF_EACH):
                rows = min(len(stored), ROWS_OF_EACH)
                return Counter(_stored_kind(stored.slice(row, 1), footer) for row in range(rows))
    except (BadFile, OSError, pa.ArrowException) as error:
        return Counter([Kind(reason=one_line(error))])
    raise AssertionError("a piece has rows")


def _stored_kind(stored: pa.Array, footer: Footer) -> Kind:
    if footer.layout.form == "encoded":
        return _kind(stored[0].as_py())
    try:
        return Kind(stored_shape(footer.layout, stored), 8, "Parquet")
    except BadImage as error:
        value = stored[0].as_py()
        return Kind(reason=str(error), undeclared=0 if value is None else len(value))


def _kind(encoded: bytes | BadImage | None) -> Kind:
    if isinstance(encoded, BadImage):
        return Kind(reason=str(encoded))
    if encoded is None:
        return Kind(reason=NULL)
    try:
        return _encoded_kind(encoded)
    except BadImage as error:
        return Kind(reason=str(error))


def _encoded_kind(encoded: bytes) -> Kind:
    header = read_header(encoded)
    return Kind(header.shape, header.bits, header.format)
