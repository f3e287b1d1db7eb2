"""Lists of images that a person has made: outliers among the calibration images, defects that were missed.

A list is a CSV file with the columns `file` and `row`, as tables of scores have them and reports export them (other
columns are ignored), or a text file with one path a line.
"""

import csv
import io
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from jobs.images.image_set import ImageFile, ImageSet
from jobs.images.location import Address, locate
from jobs.images.parquet import one_line
from vae_core.errors import InputError, UserError, raising

_ROW_BITS = 40  # of a key; the rest is the number of the file


class Listed(NamedTuple):
    """One image of a list."""

    file: str  # as in the column `file` of scores
    row: int  # 0 for an image file


class Finder:
    """Finds the images of a list among rows."""

    def __init__(self, listed: Sequence[Listed]) -> None:
        self._files = pa.array(list(dict.fromkeys(each.file for each in listed)), pa.string())
        numbers = {name: number for number, name in enumerate(self._files.to_pylist())}
        keys = np.array([numbers[each.file] << _ROW_BITS | each.row for each in listed], np.int64)
        self._order = np.argsort(keys)
        self._keys = keys[self._order]

    def find(self, files: pa.Array | pa.ChunkedArray, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """The index in the list of each of N images, −1 for those that it does not have: [N]."""
        found = np.full(len(rows), -1)
        if not len(self._keys):
            return found
        numbers = pc.fill_null(pc.index_in(files, value_set=self._files), -1)
        numbers = numbers.to_numpy(zero_copy_only=False).astype(np.int64)
        candidates = np.flatnonzero(numbers >= 0)
        keys = numbers[candidates] << _ROW_BITS | rows[candidates]
        place = np.searchsorted(self._keys, keys).clip(max=len(self._keys) - 1)
        is_listed = self._keys[place] == keys
        found[candidates[is_listed]] = self._order[place[is_listed]]
        return found


@raising(InputError)
def read_list(path: str, images: ImageSet, option: str) -> list[Listed]:
    """The images in a list, each once, in its order.

    A file is named by its address, by a path relative to the working directory, or by the end of one file's address.

    Args:
        path: path or URL of the list.
        images: what it lists some of.
        option: that gives the list, for errors.

    Raises:
        UserError: the list cannot be read or is empty, or one of its images is not among `images`.
    """
    entries = _entries(path, option)
    by_name = {file.url: file for file in images.files}
    found: dict[Listed, None] = {}
    for line, name, row in entries:
        file = by_name.get(name) or by_name.get(str(Address.parse(name))) or _ending(images, name)
        if file is None:
            raise UserError(
                f"{option}: line {line} of {path} must name one of the images, got {name}; a list is a CSV file with "
                "the columns file and row, or has one path a line"
            )
        found[Listed(file.url, _row(file, row, f"{option}: line {line} of {path}"))] = None
    return list(found)


class _Entry(NamedTuple):
    line: int
    file: str
    row: str


def _entries(path: str, option: str) -> list[_Entry]:
    try:
        filesystem, inside = locate(str(Address.parse(path)))
        with filesystem.open_input_stream(inside) as stream:
            text = stream.read().decode("utf-8-sig")  # spreadsheets write a byte order mark
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{option} must name a list of images in UTF-8, got {path}: {one_line(error)}") from error
    if not text.strip():
        raise UserError(f"{option} must name a list of images, got {path}, which is empty")
    if "file" not in next(csv.reader(io.StringIO(text, newline=""))):
        lines = enumerate(text.split("\n"), 1)
        return [_Entry(number, line.strip(), "") for number, line in lines if line.strip()]
    reader = csv.DictReader(io.StringIO(text, newline=""))
    return [_Entry(reader.line_num, each["file"], each.get("row") or "") for each in reader if each["file"]]


def _ending(images: ImageSet, name: str) -> ImageFile | None:
    """The only file whose address ends with a name."""
    found = [file for file in images.files if file.url.endswith(f"/{name.removeprefix('./')}")]
    return found[0] if len(found) == 1 else None


def _row(file: ImageFile, text: str, where: str) -> int:
    if not text and file.layout is None:
        return 0
    try:
        row = int(text)
    except ValueError:
        row = -1
    if not 0 <= row < file.rows:
        raise UserError(
            f"{where} must give a row of {file.url}, a whole number from 0 to {file.rows - 1:,}, got {text or 'none'}"
        )
    return row
