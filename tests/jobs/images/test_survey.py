"""The survey: what images there are, which shape most have, and what a model would leave out."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from export.images.contract import ImageContract
from export.storage import Folder
from image_files import encode, packed, pictures, pngs, write_parquet
from jobs.images import survey as module
from jobs.images.files import read_files
from jobs.images.reader import read_images
from jobs.images.source import find_images
from jobs.images.survey import Kind, Survey, spread, survey
from vae_core.errors import UserError

GREY, COLOUR = (1, 6, 5), (3, 8, 8)


def look(folder: Path) -> Survey:
    return survey(find_images([str(folder)]))


def write(folder: Path, name: str, shape: tuple[int, int, int], form: str = "PNG", **options: object) -> None:
    (folder / name).write_bytes(encode(pictures(1, shape)[0], form, **options))


def test_the_shape_is_that_of_most_images_not_of_the_first_file(tmp_path: Path) -> None:
    write(tmp_path, "a.png", GREY)
    for number in range(3):
        write(tmp_path, f"b{number}.jpg", COLOUR, "JPEG")
    (tmp_path / "z.png").write_text("text")
    found = look(tmp_path)
    assert found.shape == COLOUR
    assert found.counts == {
        Kind(COLOUR, 8, "JPEG"): 3,
        Kind(GREY, 8, "PNG"): 1,
        Kind(reason="not an image in a supported format (PNG, JPEG, WebP, GIF, BMP, TIFF, PPM …)"): 1,
    }
    assert found.seen == found.rows == 5


def test_of_equally_many_the_first_found_decides(tmp_path: Path) -> None:
    write(tmp_path, "a.png", COLOUR)
    write(tmp_path, "b.png", GREY)
    assert look(tmp_path).shape == COLOUR


def test_channels_are_those_of_most_images_whatever_their_size(tmp_path: Path) -> None:
    for number in range(3):
        write(tmp_path, f"grey{number}.png", GREY)
    for number in range(4):
        write(tmp_path, f"size{number}.png", (3, 8 + number, 8))
    found = look(tmp_path)
    assert (found.shape, found.channels) == (GREY, 3)


@pytest.mark.parametrize("resize", [False, True])
def test_what_is_left_out_is_what_reading_leaves_out(tmp_path: Path, resize: bool) -> None:
    for number in range(4):
        write(tmp_path, f"a{number}.png", GREY)
    write(tmp_path, "colour.png", (3, 6, 5))
    write(tmp_path, "large.webp", COLOUR, "WEBP")
    (tmp_path / "deep.png").write_bytes(encode(Image.fromarray(np.zeros((6, 5), np.uint16))))
    (tmp_path / "text.png").write_text("text")
    exif = Image.Exif()
    exif[0x0112] = 6
    write(tmp_path, "lying.png", (1, 5, 6), exif=exif)
    contract = ImageContract(*GREY, resize=resize)
    left_out = look(tmp_path).left_out(contract)
    batches = list(read_images(find_images([str(tmp_path)]).pieces, contract))
    assert (left_out.rows, left_out.of) == (sum(len(batch.errors) for batch in batches), 9)
    assert left_out.rows == (1 if resize else 4)


def test_the_survey_of_many_files_is_a_sample_that_counts_for_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_FILES", 10)
    for number in range(20):
        write(tmp_path, f"{number:02}.png", GREY if number < 10 else COLOUR)
    found = look(tmp_path)
    assert found.counts == {Kind(GREY, 8, "PNG"): 10, Kind(COLOUR, 8, "PNG"): 10}
    assert (found.seen, found.rows) == (10, 20)
    assert "looked at 10 of 20 images" in found.table(ImageContract(*GREY))


def test_rows_of_parquet_count_as_many_as_they_stand_for(tmp_path: Path) -> None:
    write_parquet(tmp_path / "a.parquet", pa.array(pngs(pictures(300))), row_group_size=150)
    write(tmp_path, "b.png", COLOUR)
    found = look(tmp_path)
    assert found.counts == {Kind(GREY, 8, "PNG"): 300, Kind(COLOUR, 8, "PNG"): 1}
    assert found.seen == 2 * module.ROWS_OF_EACH + 1


def test_a_declared_shape_needs_no_reading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RowReader", None)
    write_parquet(tmp_path / "a.parquet", packed(pictures(300)), {b"vae.shape": b"[1, 6, 5]"})
    assert look(tmp_path).counts == {Kind(GREY, 8, "Parquet"): 300}


def test_raw_pixels_of_undeclared_shape_fit_a_model_of_as_many(tmp_path: Path) -> None:
    write_parquet(tmp_path / "a.parquet", packed(pictures(3)))
    found = look(tmp_path)
    assert found.left_out(ImageContract(*GREY)).rows == 0
    assert found.left_out(ImageContract(1, 6, 6)).rows == 3
    with pytest.raises(UserError, match=r"vae\.shape"):
        _ = found.shape


def test_the_table_says_what_becomes_of_each_kind(tmp_path: Path) -> None:
    for number in range(3):
        write(tmp_path, f"{number}.png", GREY)
    write(tmp_path, "large.jpg", COLOUR, "JPEG")
    (tmp_path / "text.png").write_text("text")
    found = look(tmp_path)
    assert found.table(ImageContract(*GREY)).splitlines() == [
        "looked at 5 of 5 images, to be used as 5×6 grey:",
        "          3  as they are  5×6 grey, PNG",
        "          1  LEFT OUT     8×8 RGB, JPEG",
        "          1  LEFT OUT     unreadable: not an image in a supported format "
        "(PNG, JPEG, WebP, GIF, BMP, TIFF, PPM …)",
    ]
    assert "  1  letterboxed  8×8 RGB, JPEG" in found.table(ImageContract(*GREY, resize=True))


def test_one_kind_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path, "a.png", GREY)
    assert look(tmp_path).table(ImageContract(*GREY)) == "looked at 1 of 1 images: 5×6 grey, PNG, as they are"
    assert not capsys.readouterr().err


@pytest.mark.parametrize("count", [0, 1, 9, 10, 11, 57])
def test_items_are_spread_evenly(count: int) -> None:
    chosen = spread(range(count), 10)
    assert len(chosen) == min(count, 10)
    gaps = np.diff(chosen)
    assert len(gaps) == 0 or (gaps.min() >= 1 and gaps.max() - gaps.min() <= 1)


def test_of_a_large_file_only_the_start_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also of remote files; an image whose header does not fit is read whole."""
    folder = Folder.at(f"memory://{tmp_path.name}")
    folder.write("a.png", encode(pictures(1, (3, 64, 64))[0]))
    whole: list[str] = []
    monkeypatch.setattr(module, "_HEADER_BYTES", 100)
    monkeypatch.setattr(module, "read_files", lambda pieces: whole.append(pieces[0].file) or read_files(pieces))
    assert survey(find_images([folder.url])).shape == (3, 64, 64)
    assert not whole
    monkeypatch.setattr(module, "_HEADER_BYTES", 10)
    assert survey(find_images([folder.url])).shape == (3, 64, 64)
    assert whole == [f"{folder.url}/a.png"]
