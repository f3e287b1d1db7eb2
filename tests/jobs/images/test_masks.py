"""Masks of images: decoding, sizes, columns, files; images without one become errors."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from export.images.contract import BadImage, ImageContract
from export.images.convert import fit
from image_files import encode, nested, nested_fixed, packed, pictures, write_parquet
from jobs.images.masks import NO_DEFECTS, MaskedBatch, MaskedUnit, MaskSource, decode_mask, read_masked
from jobs.images.source import find_images, plan_units

CONTRACT = ImageContract(1, 6, 5)
MASKS = np.random.default_rng(3).random((4, 6, 5)) < 0.3


def read(source: str, masks: MaskSource, files: dict[str, str] | None = None) -> MaskedBatch:
    (unit,) = plan_units(find_images([source]))
    batches = list(read_masked(MaskedUnit.of(unit, files or {}), CONTRACT, masks))
    assert len(batches) == 1
    return batches[0]


def column(source: str) -> MaskSource:
    return MaskSource(find_images([source]).keep(["mask"]))


def palette(mask: np.ndarray) -> Image.Image:
    image = Image.fromarray(mask.astype(np.uint8), "P")
    image.putpalette([0, 0, 0, 255, 0, 0])
    return image


@pytest.mark.parametrize(
    "draw",
    [
        lambda mask: (255 * mask).astype(np.uint8),
        lambda mask: mask.astype(np.uint8),  # any nonzero level
        lambda mask: Image.fromarray(mask),  # one bit
        lambda mask: Image.fromarray(mask.astype(np.uint16)),
        palette,
        lambda mask: np.stack([mask * 0, mask * 0, mask]).astype(np.uint8),  # a colour
        lambda mask: np.stack([mask, np.ones_like(mask)]).astype(np.uint8).transpose(0, 1, 2) * 255,  # opaque
        lambda mask: np.stack([mask, mask, mask, np.ones_like(mask)]).astype(np.uint8) * 255,
    ],
)
def test_nonzero_pixels_are_defective(draw: object) -> None:
    np.testing.assert_array_equal(decode_mask(encode(draw(MASKS[0])), CONTRACT), MASKS[0])


def test_a_mask_of_another_size_needs_resize_and_keeps_whole_pixels() -> None:
    large = MASKS[0].repeat(3, axis=0).repeat(3, axis=1)
    with pytest.raises(BadImage, match="the mask must be 5×6, as its image, got 15×18; use --resize"):
        decode_mask(encode(large.astype(np.uint8)), CONTRACT)
    resized = decode_mask(encode(large.astype(np.uint8)), ImageContract(1, 6, 5, resize=True))
    np.testing.assert_array_equal(resized, MASKS[0])


def test_a_mask_is_letterboxed_as_its_image_is() -> None:
    wide = np.ones((6, 24), np.uint8)
    contract = ImageContract(1, 12, 12, resize=True)
    np.testing.assert_array_equal(decode_mask(encode(wide), contract), fit(255 * wide[..., None], contract)[0] > 0)


@pytest.mark.parametrize("store", [packed, nested, nested_fixed])
def test_masks_may_be_raw_pixels(tmp_path: Path, store: object) -> None:
    stored = store(MASKS.astype(np.uint8))
    source = write_parquet(tmp_path / "a.parquet", packed(pictures(4)), mask=stored)
    np.testing.assert_array_equal(read(source, column(source)).masks, MASKS)


def test_images_without_a_usable_mask_become_errors(tmp_path: Path) -> None:
    images = pictures(6)
    masks = [{"bytes": encode(mask.astype(np.uint8)), "path": "m.png"} for mask in MASKS[[0, 1, 2, 3, 0, 1]]]
    masks[1] = None
    masks[2]["bytes"] = b"no picture"
    masks[4]["bytes"] = encode(np.zeros((7, 5), np.uint8))
    encoded = [{"bytes": encode(image), "path": None} for image in images]
    encoded[5]["bytes"] = None
    source = write_parquet(tmp_path / "a.parquet", pa.array(encoded), mask=pa.array(masks))
    batch = read(source, column(source))
    np.testing.assert_array_equal(batch.images, images[[0, 3]])
    np.testing.assert_array_equal(batch.masks, MASKS[[0, 3]])
    assert batch.keys.to_pylist() == [{"file": source, "row": 0}, {"file": source, "row": 3}]
    reasons = {row["row"]: row["reason"] for row in batch.errors.to_pylist()}
    assert set(reasons) == {1, 2, 4, 5}
    assert reasons[1] == "the mask is null"
    assert reasons[2].startswith("mask: ")
    assert reasons[4].startswith("the mask must be 5×6")
    assert reasons[5].startswith("the image is null")
    assert batch.errors.column_names == ["file", "row", "reason"]


def test_mask_files_belong_to_image_files(tmp_path: Path) -> None:
    images = pictures(3)
    for index, image in enumerate(images):
        (tmp_path / f"{index}.png").write_bytes(encode(image))
    (tmp_path / "masks").mkdir()
    (tmp_path / "masks/a.bmp").write_bytes(encode(MASKS[0].astype(np.uint8), "BMP"))
    files = {str(tmp_path / "0.png"): str(tmp_path / "masks/a.bmp"), str(tmp_path / "2.png"): str(tmp_path / "gone")}
    batch = read(str(tmp_path / "*.png"), MaskSource(NO_DEFECTS.columns, "masks"), files)
    np.testing.assert_array_equal(batch.images, images[:1])
    np.testing.assert_array_equal(batch.masks, MASKS[:1])
    assert [row["reason"] for row in batch.errors.to_pylist()] == [
        "no mask in masks has the image's name",
        "mask: the file cannot be read: No such file or directory",
    ]


def test_without_masks_nothing_is_defective(tmp_path: Path) -> None:
    source = write_parquet(tmp_path / "a.parquet", packed(pictures(3)))
    batch = read(source, NO_DEFECTS)
    assert (batch.masks.shape, batch.masks.any(), len(batch.errors)) == ((3, 6, 5), False, 0)


def test_a_unit_keeps_its_masks_when_it_is_halved(tmp_path: Path) -> None:
    for index, image in enumerate(pictures(5)):
        (tmp_path / f"{index}.png").write_bytes(encode(image))
    found = find_images([str(tmp_path)])
    (unit,) = plan_units(found)
    whole = MaskedUnit.of(unit, {file.url: f"{file.url}.mask" for file in found.files})
    first, second = whole.halves()
    assert first.masks + second.masks == whole.masks
    assert (first.rows, second.rows, second.number) == (2, 3, whole.number)
    assert [pair[1] for pair in second.to_json()["masks"]] == [f"{tmp_path}/{index}.png.mask" for index in (2, 3, 4)]
