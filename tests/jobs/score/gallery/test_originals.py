"""Rows of the scores find the images that they are of."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from export.images.contract import ImageContract
from image_files import LAYOUTS, encode, pictures, write_parquet
from jobs.images.source import find_images, plan_units
from jobs.images.units import Piece, Unit
from jobs.score.gallery import originals
from jobs.score.gallery.originals import PACKED, Original, batches, find_pieces, read_originals

COUNT = 100
CONTRACT = ImageContract(1, 6, 5)


def all_of(units: list[Unit]) -> list[Piece]:
    return [piece for unit in units for piece in unit.pieces]


def recall(source: str, chosen: list[int]) -> dict[int, Original]:
    """The images of the rows `chosen` of the input, as a job of units of about 13 rows finds them."""
    units = plan_units(find_images([source]), 13)
    numbered = [(piece.file, piece.first_row + row) for piece in all_of(units) for row in range(piece.rows)]
    wanted = [numbered[number] for number in chosen]
    rows = pa.table({"file": [file for file, _ in wanted], "row": [row for _, row in wanted]})
    pieces = find_pieces(all_of(units), rows)
    assert all(piece is not None and piece.rows == 1 for piece in pieces)
    return {index: each for batch in batches(pieces) for index, each in read_originals(batch, CONTRACT)}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_gives_the_stored_image(tmp_path: Path, layout: str) -> None:
    images = pictures(COUNT)
    source = write_parquet(tmp_path / "in.parquet", *LAYOUTS[layout](images), row_group_size=40)
    chosen = [99, 0, 41, 40, 39, 7, 80]
    found = recall(source, chosen)
    assert sorted(found) == list(range(len(chosen)))
    for index, number in enumerate(chosen):
        assert np.array_equal(found[index].pixels.transpose(2, 0, 1), images[number])
        assert found[index].kind == ("PNG" if layout.startswith(("hugging", "encoded")) else PACKED)


def test_image_files_come_in_their_own_size_and_format(tmp_path: Path) -> None:
    for number in range(70):  # more than are read together
        image = pictures(1, (3, 10 + number, 9), number)[0]
        form = "BMP" if number % 2 else "PNG"
        (tmp_path / f"{number:02d}.{form.lower()}").write_bytes(encode(image, form))
    found = recall(str(tmp_path), [69, 3, 0])
    assert [found[index].pixels.shape for index in range(3)] == [(79, 9, 3), (13, 9, 3), (10, 9, 3)]
    assert [found[index].kind for index in range(3)] == ["BMP", "BMP", "PNG"]
    assert np.array_equal(found[1].pixels.transpose(2, 0, 1), pictures(1, (3, 13, 9), 3)[0])


def test_a_row_group_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = write_parquet(tmp_path / "in.parquet", *LAYOUTS["encoded"](pictures(COUNT)), row_group_size=50)
    read = []
    rows = originals.RowReader.rows

    def counted(self: originals.RowReader, piece: originals.Piece, *rest: object) -> object:
        read.append(piece)
        return rows(self, piece, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(originals.RowReader, "rows", counted)
    assert len(recall(source, list(range(COUNT)))) == COUNT
    assert [(piece.row_group, piece.start, piece.stop) for piece in read] == [(0, 0, 50), (1, 0, 50)]


def test_what_is_gone_or_damaged_is_left_out(tmp_path: Path) -> None:
    images = pictures(6)
    for number, image in enumerate(images):
        (tmp_path / f"{number}.png").write_bytes(encode(image))
    units = plan_units(find_images([str(tmp_path)]))
    rows = pa.table({"file": [f"{tmp_path}/{number}.png" for number in range(6)], "row": [0] * 6})
    pieces = find_pieces(all_of(units), rows)
    (tmp_path / "2.png").unlink()
    (tmp_path / "4.png").write_bytes(b"no image")
    found = {index for batch in batches(pieces) for index, _ in read_originals(batch, CONTRACT)}
    assert found == {0, 1, 3, 5}


def test_a_file_that_was_replaced_by_a_shorter_one(tmp_path: Path) -> None:
    source = write_parquet(tmp_path / "in.parquet", *LAYOUTS["encoded"](pictures(COUNT)), row_group_size=50)
    units = plan_units(find_images([source]))
    rows = pa.table({"file": [source] * 3, "row": [3, 48, 80]})
    pieces = find_pieces(all_of(units), rows)
    write_parquet(tmp_path / "in.parquet", *LAYOUTS["encoded"](pictures(10)), row_group_size=50)
    found = {index for batch in batches(pieces) for index, _ in read_originals(batch, CONTRACT)}
    assert found == {0}


def test_a_row_that_the_plan_does_not_have_is_not_found(tmp_path: Path) -> None:
    source = write_parquet(tmp_path / "in.parquet", *LAYOUTS["encoded"](pictures(5)))
    units = plan_units(find_images([source]))
    rows = pa.table({"file": [source, "/elsewhere.parquet"], "row": [5, 0]})
    assert find_pieces(all_of(units), rows) == [None, None]
    assert batches([None, None]) == []
