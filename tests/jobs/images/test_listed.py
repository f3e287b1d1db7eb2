"""Lists of images: forms, names, rows, and finding them among rows."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from image_files import encode, huggingface, pictures, write_parquet
from jobs.images.image_set import ImageSet
from jobs.images.listed import Finder, Listed, read_list
from jobs.images.source import find_images
from vae_core.errors import UserError


@pytest.fixture
def images(tmp_path: Path) -> ImageSet:
    """Two image files of one name and one of another, and a Parquet file with seven rows."""
    for name in ("a/one.png", "b/one.png", "b/two.png"):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / name).write_bytes(encode(pictures(1)[0]))
    write_parquet(tmp_path / "in/rows.parquet", huggingface(pictures(7)))
    return find_images([str(tmp_path / "in")])


def listed(tmp_path: Path, images: ImageSet, text: str) -> list[Listed]:
    (tmp_path / "list").write_text(text)
    return read_list(str(tmp_path / "list"), images, "--review")


def test_every_form_names_the_same_images(tmp_path: Path, images: ImageSet, monkeypatch: pytest.MonkeyPatch) -> None:
    one, two, rows = (str(tmp_path / "in" / name) for name in ("a/one.png", "b/two.png", "rows.parquet"))
    expected = [Listed(one, 0), Listed(rows, 3), Listed(two, 0)]
    exported = f'\ufeffrow,note,file\n0,"a, b",{one}\n3,,{rows}\n,,{two}\n3,again,{rows}\n'
    assert listed(tmp_path, images, exported) == expected
    monkeypatch.chdir(tmp_path)
    assert listed(tmp_path, images, f"file,row\nin/a/one.png,\nrows.parquet,3\n{two},0\n") == expected
    assert listed(tmp_path, images, f"{one}\n\n  ./in/b/two.png \n") == [expected[0], expected[2]]
    assert listed(tmp_path, images, "file,row\n") == []


def test_names_may_have_commas_quotes_and_line_breaks(tmp_path: Path) -> None:
    name = 'a, "b"\n.png'
    (tmp_path / name).write_bytes(encode(pictures(1)[0]))
    images = find_images([str(tmp_path)])
    quoted = str(tmp_path / name).replace('"', '""')
    assert listed(tmp_path, images, f'file,row\n"{quoted}",\n') == [Listed(str(tmp_path / name), 0)]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (" \n", "must name a list of images, got .*, which is empty"),
        ("file,row\nelsewhere.png,0\n", "line 2 of .* must name one of the images, got elsewhere.png"),
        ("one.png\n", "line 1 of .* must name one of the images, got one.png"),  # of two folders
        ("path,row\n", "a CSV file with the columns file and row"),
        ("file\nrows.parquet\n", r"line 2 of .* must give a row of .*rows.parquet, .* from 0 to 6, got none"),
        ("file,row\nrows.parquet,7\n", "from 0 to 6, got 7"),
        ("file,row\ntwo.png,1\n", "from 0 to 0, got 1"),
        ("file,row\nrows.parquet,x\n", "got x"),
    ],
)
def test_lists_that_cannot_be_meant_are_refused(tmp_path: Path, images: ImageSet, text: str, words: str) -> None:
    with pytest.raises(UserError, match=f"--review.*{words}"):
        listed(tmp_path, images, text)


def test_a_list_that_cannot_be_read_is_refused(tmp_path: Path, images: ImageSet) -> None:
    with pytest.raises(UserError, match=r"--review must name a list of images in UTF-8, got .*absent"):
        read_list(str(tmp_path / "absent.csv"), images, "--review")
    (tmp_path / "list").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="in UTF-8"):
        read_list(str(tmp_path / "list"), images, "--review")


def test_listed_images_are_found_among_rows() -> None:
    rng = np.random.default_rng(0)
    files, rows = rng.choice(["a", "b", "c"], 500), rng.integers(0, 40, 500)
    chosen = [Listed("b", 7), Listed("a", 39), Listed("d", 1), Listed("b", 0)]
    expected = [next((i for i, each in enumerate(chosen) if each == key), -1) for key in zip(files, rows, strict=True)]
    assert max(expected) == 3
    assert Finder(chosen).find(pa.array(files), rows).tolist() == expected
    assert Finder(chosen).find(pa.chunked_array([files[:9], files[9:]]), rows).tolist() == expected
    assert (Finder([]).find(pa.array(files), rows) == -1).all()
