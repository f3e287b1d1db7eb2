"""Make the gallery of scored images: rows with what is shown of them."""

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

import pyarrow as pa

from export.guarantees.p_values import SCORE
from export.storage import Folder
from jobs.images.units import Piece
from jobs.report.blocks import Gallery
from jobs.report.gallery.content import GalleryContent, Group, Image, Value
from jobs.report.gallery.links import folder_link
from jobs.report.gallery.write import write_gallery
from jobs.report.places import common_folder
from jobs.score.gallery.likeness import group_alike
from jobs.score.gallery.pictures import Pictured

_TEXT = 200  # characters of an extra column's values


class Columns(NamedTuple):
    """What a gallery shows of rows, beside `file`, `row` and `outlier_score`."""

    p_value: str  # the column
    extras: Sequence[str] = ()  # further columns, shown of the image that has the focus
    discoveries: int = 0  # how many of the rows are discoveries, all before the others


def make_gallery(
    output: Folder,
    rows: pa.Table,
    pieces: Sequence[Piece | None],
    pictured: Sequence[Pictured | None],
    columns: Columns,
) -> Gallery:
    """Write the files of a gallery beside the page of `output`, and return its block.

    Args:
        output: folder of the job.
        rows: the images to show, the most outlying first, at least one: `file`, `row`, `outlier_score` and `columns`.
        pieces: where they are in the input; see `find_pieces`.
        pictured: what is shown of them; see `picture_images`.
        columns: of `rows`.
    """
    files = rows["file"].to_pylist()
    folder = common_folder(files)
    has_files = any(piece is not None and piece.row_group < 0 for piece in pieces)
    content = GalleryContent(
        files=files,
        rows=rows_in_files(rows, pieces),
        scores=rows[SCORE].to_pylist(),
        p_values=rows[columns.p_value].to_pylist(),
        discoveries=[index < columns.discoveries for index in range(len(rows))],
        images=[None if each is None else _image(each) for each in pictured],
        leaders=group_alike([None if each is None else each.likeness for each in pictured]),
        reasons=["" if each is None else each.reason for each in pictured],
        kinds=[
            Group("Reason", ["" if each is None else each.aspect for each in pictured]),
            Group("Format", ["" if each is None else each.kind for each in pictured]),
            Group("Folder", [_folder(*each, folder) for each in zip(files, pieces, strict=True)]),
        ],
        extras={name: [_value(value) for value in rows[name].to_pylist()] for name in columns.extras},
        link=folder_link(folder, output) if has_files else None,
    )
    return write_gallery(output, content)


def rows_in_files(rows: pa.Table, pieces: Sequence[Piece | None]) -> list[int | None]:
    """The row of each image in its Parquet file; None for an image file, which has only one."""
    numbers: list[int] = rows["row"].to_pylist()
    return [
        None if piece is not None and piece.row_group < 0 else row for row, piece in zip(numbers, pieces, strict=True)
    ]


def _image(pictured: Pictured) -> Image:
    return Image(*pictured.thumbnail, f"{pictured.width}×{pictured.height}")


def _folder(file: str, piece: Piece | None, common: str) -> str:
    """What an image lies in, below the folder common to all: a folder, or a Parquet file."""
    name = file.removeprefix(common)
    return name.rpartition("/")[0] + "/" if piece is None or piece.row_group < 0 else name


def _value(value: Any) -> Value:
    if value is None or isinstance(value, bool | int | float):
        return value
    text = json.dumps(value, ensure_ascii=False, default=str) if isinstance(value, dict | list) else str(value)
    return text if len(text) <= _TEXT else f"{text[: _TEXT - 1]}…"
