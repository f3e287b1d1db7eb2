"""Images of any size from that of a tile up: one a batch, as they are; all others become errors."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from export.images.contract import ImageContract
from image_files import LAYOUTS, encode, pictures, write_parquet
from jobs.images.batches import ImageBatch
from jobs.images.masks import MaskedUnit, MaskSource, read_masked
from jobs.images.reader import read_unit
from jobs.images.source import find_images, plan_units

TILE = ImageContract(1, 6, 5, larger=True)


def read(path: object, contract: ImageContract = TILE, columns: tuple[str, ...] = ()) -> list[ImageBatch]:
    found = find_images([str(path)])
    return [batch for unit in plan_units(found) for batch in read_unit(unit, contract, found.keep(columns))]


@pytest.mark.parametrize("name", [name for name in LAYOUTS if "shape undeclared" not in name])
def test_larger_images_of_every_layout_keep_their_size(tmp_path: Path, name: str) -> None:
    images = pictures(7, (1, 9, 8))
    path = write_parquet(tmp_path / "a.parquet", *LAYOUTS[name](images), row_group_size=3, key=list("abcdefg"))
    batches = read(path, columns=("key",))
    assert [batch.images.shape for batch in batches] == [(1, 1, 9, 8)] * 7
    np.testing.assert_array_equal(np.concatenate([batch.images for batch in batches]), images)
    assert [key for batch in batches for key in batch.keys["key"].to_pylist()] == list("abcdefg")
    assert [row for batch in batches for row in batch.keys["row"].to_pylist()] == list(range(7))


def test_images_of_many_sizes_share_a_file(tmp_path: Path) -> None:
    images = [pictures(1, (1, *size))[0] for size in ((6, 5), (11, 5), (6, 30), (8, 9))]
    stored = pa.array([{"bytes": encode(image), "path": None} for image in images])
    batches = read(write_parquet(tmp_path / "a.parquet", stored))
    for batch, image in zip(batches, images, strict=True):
        np.testing.assert_array_equal(batch.images[0], image)


def test_files_of_many_sizes_and_formats(tmp_path: Path) -> None:
    for name, size in (("a.png", (6, 5)), ("b.bmp", (20, 7)), ("c.png", (7, 90))):
        form = "BMP" if name.endswith("bmp") else "PNG"
        (tmp_path / name).write_bytes(encode(pictures(1, (1, *size))[0], form))
    assert [batch.images.shape[2:] for batch in read(tmp_path)] == [(6, 5), (20, 7), (7, 90)]


def test_every_other_row_becomes_an_error(tmp_path: Path) -> None:
    good = pictures(1, (1, 8, 8))[0]
    rows = [
        encode(good),
        encode(pictures(1, (1, 5, 50))[0]),
        None,
        b"this is a text file",
        encode(pictures(1, (3, 8, 8))[0]),
        encode(good)[:60],
        encode(good),
    ]
    batches = read(write_parquet(tmp_path / "a.parquet", pa.array(rows, pa.binary())))
    assert [len(batch.images) for batch in batches] == [1, 0, 0, 0, 0, 0, 1]
    reasons = [reason for batch in batches for reason in batch.errors["reason"].to_pylist()]
    assert reasons[0] == "the image must be at least 5×6, the size of a tile, got 50×5"
    assert reasons[1] == "the image is null"
    assert reasons[3] == "the image must be 8×8 grey, got 8×8 RGB; use --resize to convert it"
    assert [row for batch in batches for row in batch.errors["row"].to_pylist()] == [1, 2, 3, 4, 5]


def test_packed_images_without_a_shape_or_too_small_become_errors(tmp_path: Path) -> None:
    undeclared = pictures(3, (1, 9, 8))
    path = write_parquet(tmp_path / "a.parquet", *LAYOUTS["packed, shape undeclared"](undeclared))
    assert all("vae.shape" in batch.errors["reason"][0].as_py() for batch in read(path))
    path = write_parquet(tmp_path / "b.parquet", *LAYOUTS["packed"](pictures(3, (1, 5, 8))))
    assert [batch.errors["reason"][0].as_py() for batch in read(path)] == [
        "the image must be at least 5×6, the size of a tile, got 8×5"
    ] * 3


def test_resize_converts_all_but_the_size(tmp_path: Path) -> None:
    colour = pictures(1, (3, 20, 7))[0]
    deep = (pictures(1, (1, 9, 9))[0].astype(np.uint16) * 257)[0]
    small = pictures(1, (1, 5, 50))[0]
    for name, image in (("a", colour), ("b", deep), ("c", small)):
        (tmp_path / f"{name}.png").write_bytes(encode(image))
    resized = ImageContract(1, 6, 5, resize=True, larger=True)
    batches = read(tmp_path, resized)
    assert [batch.images.shape for batch in batches] == [(1, 1, 20, 7), (1, 1, 9, 9), (0, 1, 6, 5)]
    np.testing.assert_array_equal(batches[1].images[0, 0], (deep + 128) // 257)
    assert "the size of a tile" in batches[2].errors["reason"][0].as_py()


def test_a_lost_row_group_is_an_error_for_each_row(tmp_path: Path) -> None:
    images = pictures(30, (1, 40, 40))
    path = Path(write_parquet(tmp_path / "a.parquet", *LAYOUTS["packed"](images), row_group_size=10))
    content = bytearray(path.read_bytes())
    content[16_000:18_000] = bytes(2000)  # in the second row group
    path.write_bytes(content)
    batches = read(path)
    rows = [row for batch in batches for table in (batch.keys, batch.errors) for row in table["row"].to_pylist()]
    assert sorted(rows) == list(range(30))


def test_masks_have_the_sizes_of_their_images(tmp_path: Path) -> None:
    images = [pictures(1, (1, *size))[0] for size in ((6, 5), (11, 8), (9, 9))]
    masks = [image > 128 for image in images]
    masks[2] = np.ones((1, 9, 8), np.bool_)
    stored = pa.array([{"bytes": encode(image), "path": None} for image in images])
    encoded = pa.array([{"bytes": encode(mask.astype(np.uint8)), "path": None} for mask in masks])
    found = find_images([write_parquet(tmp_path / "a.parquet", stored, mask=encoded)])
    (unit,) = plan_units(found)
    batches = list(read_masked(MaskedUnit(unit), TILE, MaskSource(found.keep(["mask"]))))
    for batch, mask in zip(batches[:2], masks[:2], strict=True):
        np.testing.assert_array_equal(batch.masks, mask)
    assert len(batches[2].images) == 0
    assert batches[2].errors["reason"].to_pylist() == [
        "the mask must be 9×9, as its image, got 8×9; use --resize to convert both"
    ]
