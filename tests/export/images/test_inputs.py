"""Images as a program has them: all kinds give the pixels of the decoder, and what cannot be meant is refused."""

import io
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from export.images.contract import ImageContract
from export.images.decode import decode_batch
from export.images.inputs import ImageInputs
from image_files import encode
from vae_core.errors import UserError

SHAPE = (3, 12, 10)
EXACT, RESIZING = ImageInputs(ImageContract(*SHAPE)), ImageInputs(ImageContract(*SHAPE, resize=True))


def noise(*shape: int, seed: int = 0, dtype: type = np.uint8) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, np.iinfo(dtype).max + 1, shape, dtype=dtype)


def files() -> dict[str, bytes]:
    """Encoded images of every kind that decoding rules tell apart, by name."""
    rgb = Image.fromarray(noise(24, 17, 3))
    grey_alpha = Image.merge("LA", [Image.fromarray(noise(9, 9, seed=n)) for n in (1, 2)])
    exif = Image.Exif()
    exif[0x0112] = 6
    transparent = rgb.quantize(16)
    deep = cv2.imencode(".png", noise(20, 30, dtype=np.uint16))[1].tobytes()
    return {
        "rgb.png": encode(rgb),
        "grey.png": encode(noise(8, 30)),
        "grey-alpha.png": encode(grey_alpha),
        "rgba.png": encode(Image.fromarray(noise(12, 10, 4))),
        "palette.png": encode(transparent),
        "transparent.png": encode(transparent, transparency=3),
        "turned.png": encode(rgb, exif=exif),
        "bilevel.png": encode(Image.fromarray(noise(16, 16) > 99)),
        "deep.png": deep,
        "bitmap.bmp": encode(rgb, "BMP"),
        "lossless.webp": encode(rgb, "WEBP", lossless=True),
        "turned.tiff": encode(rgb, "TIFF", exif=exif),
    }


@pytest.mark.parametrize("name", list(files()))
def test_every_kind_of_a_file_gives_the_pixels_of_the_jobs_decoder(tmp_path: Path, name: str) -> None:
    data = files()[name]
    (tmp_path / name).write_bytes(data)
    expected = decode_batch(pa.array([data]), ImageContract(*SHAPE, resize=True)).images
    kinds = [data, tmp_path / name, str(tmp_path / name), f"file://{tmp_path / name}", Image.open(io.BytesIO(data))]
    for kind in kinds:
        np.testing.assert_array_equal(RESIZING.read(kind), expected)
        np.testing.assert_array_equal(RESIZING.read([kind, kind]), np.concatenate([expected, expected]))


def test_jpegs_are_decoded_alike_from_paths_and_bytes(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 8
    data = encode(Image.fromarray(noise(40, 50, 3)), "JPEG", exif=exif)
    (tmp_path / "a.jpg").write_bytes(data)
    expected = decode_batch(pa.array([data]), ImageContract(*SHAPE, resize=True)).images
    np.testing.assert_array_equal(RESIZING.read([tmp_path / "a.jpg"]), expected)
    # Pillow has decoded its image already, upright after the same orientation.
    assert np.abs(RESIZING.read(Image.open(io.BytesIO(data))).astype(int) - expected).max() <= 2


def test_arrays_in_any_order_of_axes_are_the_same_images() -> None:
    images = noise(5, *SHAPE)
    last = images.transpose(0, 2, 3, 1)
    for kind in (images, last, np.ascontiguousarray(last), list(images), list(last), tuple(last)):
        np.testing.assert_array_equal(EXACT.read(kind), images)
    np.testing.assert_array_equal(EXACT.read(images[0]), images[:1])
    np.testing.assert_array_equal(EXACT.read(last[0]), images[:1])
    mixed = [last[0], images[1], encode(images[2]), Image.fromarray(last[3])]
    np.testing.assert_array_equal(EXACT.read(mixed), images[:4])
    grey = ImageInputs(ImageContract(1, 12, 10))
    np.testing.assert_array_equal(grey.read(images[0, 0]), images[:1, :1])
    wide = noise(12, 10, 3, dtype=np.uint16)
    expected = decode_batch(pa.array([cv2.imencode(".png", wide[..., ::-1])[1].tobytes()]), ImageContract(*SHAPE, True))
    np.testing.assert_array_equal(RESIZING.read(wide), expected.images)


def test_an_array_of_the_models_shape_is_not_copied_and_batches_are_bounded() -> None:
    images = noise(10, *SHAPE)
    batches = list(EXACT.batches(images, 4))
    assert [len(batch) for batch in batches] == [4, 4, 2]
    assert all(np.shares_memory(batch, images) for batch in batches)
    listed = list(EXACT.batches(list(images), 4))
    for batch, other in zip(batches, listed, strict=True):
        np.testing.assert_array_equal(batch, other)
    assert (EXACT.count(images), EXACT.count(list(images)), EXACT.count(images[0]), EXACT.count("x")) == (10, 10, 1, 1)


@pytest.mark.parametrize(
    ("images", "words"),
    [
        ([], r"images must be uint8 \[N, 3, 12, 10\] .*, got none"),
        (noise(0, *SHAPE), "got none"),
        (noise(2, *SHAPE).astype(np.float32), r"got float32 \[2, 3, 12, 10\]"),
        (noise(2), r"got uint8 \[2\]"),
        ([noise(*SHAPE), noise(3, 12, 3)], r"image 1 cannot be used: the array \[3, 12, 3\] could be"),
        (noise(3, 3, 3), r"\[H, W, C\] or \[C, H, W\]; give it as a batch"),
        (noise(5, 12, 10), r"1 to 4 channels, .* got \[5, 12, 10\]; several grey images are \[N, 1, H, W\]"),
        ([noise(*SHAPE).astype(bool)], "image 0 cannot be used: the array must be uint8 or uint16, got bool"),
        ([noise(2, *SHAPE)], r"must be \[H, W\], \[H, W, C\] or \[C, H, W\], got \[2, 3, 12, 10\]"),
        ([noise(3, 12, 11)], "the image must be 10×12 RGB, got 11×12 RGB; open with resize=True to convert it"),
        ([b"text"], "image 0 cannot be used: not an image in a supported format"),
        (["absent.png"], r"image 0 \(absent.png\) cannot be used: .*No such file"),
        ([None], "must be a path, bytes, a Pillow image or an array, got NoneType"),
        ([Image.new("F", (10, 12))], "integers as pixels, got mode F"),
        ([encode(noise(*SHAPE)), encode(noise(*SHAPE))[:60]], "image 1 cannot be used: damaged"),
    ],
)
def test_what_cannot_be_used_is_refused_in_a_sentence(images: Any, words: str) -> None:
    with pytest.raises(UserError, match=words) as info:
        EXACT.read(images)
    assert "\n" not in str(info.value)


def test_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="it is a folder; give its files"):
        EXACT.read(tmp_path)


@pytest.mark.parametrize("mode", ["CMYK", "YCbCr", "HSV", "I", "I;16", "1", "P", "PA", "RGBX", "La", "RGBa"])
def test_every_mode_of_pillow_can_be_read(mode: str) -> None:
    by_way_of = {"La": "LA", "RGBa": "RGBA", "YCbCr": "RGB", "HSV": "RGB", "PA": "RGBA"}
    image = Image.fromarray(noise(12, 10)).convert(by_way_of.get(mode, "L")).convert(mode)
    assert RESIZING.read(image).shape == (1, *SHAPE)
