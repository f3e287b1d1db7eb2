"""Pictures on the page show the pixels of their arrays."""

import base64

import cv2
import numpy as np
import pytest

from export.pictures import encode_png
from jobs.report.blocks import Picture
from jobs.report.pictures import LARGEST, common_top, heat, heat_scale, picture, pictures, stored_picture

RANDOM = np.random.default_rng(0)


def pixels(shown: Picture) -> np.ndarray:
    """The decoded pixels of a picture, uint8 [H, W] or [H, W, 3 or 4], red first."""
    encoded = base64.b64decode(shown.source.removeprefix("data:image/png;base64,"))
    decoded = cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_UNCHANGED)
    assert decoded is not None
    return decoded if decoded.ndim == 2 else decoded[:, :, [2, 1, 0, 3][: decoded.shape[2]]]


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_pixels_survive(channels: int) -> None:
    image = RANDOM.integers(0, 256, (channels, 9, 13), dtype=np.uint8)
    seen = pixels(picture(image, "a"))
    if channels == 1:
        expected = image[0]
    elif channels == 2:
        expected = image[[0, 0, 0, 1]].transpose(1, 2, 0)
    else:
        expected = image.transpose(1, 2, 0)
    assert np.array_equal(seen, expected)


@pytest.mark.parametrize("size", [8, 28, 32, 50])
def test_small_images_are_enlarged_by_an_integer(size: int) -> None:
    shown = picture(np.zeros((1, size, size), np.uint8), "a", side=112)
    assert shown.crisp
    assert shown.width % size == 0
    assert 56 < shown.width <= 112


@pytest.mark.parametrize(("height", "width"), [(64, 64), (64, 256), (256, 100), (256, 1)])
def test_large_images_keep_their_proportions_and_are_bounded(height: int, width: int) -> None:
    shown = picture(np.zeros((3, height, width), np.uint8), "a", side=112)
    assert not shown.crisp
    assert max(shown.height, shown.width) == 112
    assert abs(shown.width / shown.height - width / height) < 0.02
    assert max(pixels(shown).shape) <= LARGEST


def test_pictures_are_numbered_from_one() -> None:
    assert [each.alt for each in pictures(np.zeros((2, 1, 4, 4), np.uint8), "number {}")] == ["number 1", "number 2"]


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 64, 40)])
def test_a_stored_picture_is_not_reencoded(shape: tuple[int, int, int]) -> None:
    image = RANDOM.integers(0, 256, shape, dtype=np.uint8)
    png = encode_png(image)
    assert base64.b64decode(stored_picture(png, "a").source.removeprefix("data:image/png;base64,")) == png
    assert stored_picture(png, "a", 56)[1:] == picture(image, "a", 56)[1:]


def test_heat_gets_lighter_with_the_value() -> None:
    values = np.linspace(0, 300, 200, dtype=np.float32).reshape(1, 1, -1)
    colours = heat(values, 255)[0, :, 0].astype(float)  # (3, 200)
    lightness = np.array([0.2126, 0.7152, 0.0722]) @ colours
    assert np.all(np.diff(lightness) > -1.5)
    assert np.array_equal(colours[:, -1], colours[:, -20])  # beyond the top: the last colour
    assert len(heat_scale("error", 255, "levels").colours) > 2


def test_common_top_bounds_nearly_all_values() -> None:
    values = RANDOM.uniform(0, 100, (10, 8, 8)).astype(np.float32)
    top = common_top(values)
    assert (values > top).sum() <= 0.01 * values.size + 1
    assert top.is_integer()
    assert common_top(np.zeros((3, 4, 4), np.float32)) == common_top(np.zeros((0, 4, 4), np.float32)) == 1
