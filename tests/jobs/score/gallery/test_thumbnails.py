"""Thumbnails show the pixels of their images."""

import base64

import cv2
import numpy as np
import pytest

from jobs.score.gallery.thumbnails import LOSSLESS, SIDE, Thumbnail, frame, shrink, thumbnail


def decoded(shown: Thumbnail) -> np.ndarray:
    """RGB or grey pixels of a thumbnail, [h, w, C]."""
    data = np.frombuffer(base64.b64decode(shown.source.partition(",")[2]), np.uint8)
    pixels = cv2.imdecode(data, cv2.IMREAD_UNCHANGED)
    assert pixels is not None
    assert pixels.shape[:2] == (shown.height, shown.width)
    return pixels[..., None] if pixels.ndim == 2 else pixels[..., ::-1]


@pytest.mark.parametrize("channels", [1, 3])
def test_small_images_keep_every_pixel(channels: int) -> None:
    image = np.random.default_rng(0).integers(0, 256, (LOSSLESS, 20, channels), dtype=np.uint8)
    shown = thumbnail(shrink(image))
    assert shown.source.startswith("data:image/png;base64,")
    assert np.array_equal(decoded(shown), image)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("height", "width"), [(64, 100), (3000, 2000), (10, 5000)])
def test_large_images_are_reduced_and_look_the_same(channels: int, height: int, width: int) -> None:
    ramp = np.linspace(0, 255, width)[None, :, None] * np.linspace(0.2, 1, channels)
    image = np.broadcast_to(ramp, (height, width, channels)).astype(np.uint8)
    shown = thumbnail(shrink(image))
    assert shown.source.startswith("data:image/jpeg;base64,")
    assert max(shown.height, shown.width) == min(SIDE, max(height, width))
    assert abs(shown.height - max(1, shown.width * height / width)) <= 1
    expected = cv2.resize(image, (shown.width, shown.height), interpolation=cv2.INTER_AREA)
    assert np.abs(decoded(shown).astype(int) - expected.reshape(decoded(shown).shape)).mean() < 4


def test_alpha_is_shown_over_white_and_16_bits_as_8() -> None:
    clear = np.zeros((8, 8, 4), np.uint8)
    assert (decoded(thumbnail(shrink(clear))) == 255).all()
    grey_alpha = np.dstack([np.full((8, 8), 40, np.uint8), np.full((8, 8), 255, np.uint8)])
    assert (decoded(thumbnail(shrink(grey_alpha))) == 40).all()
    deep = np.full((300, 300, 3), 65535, np.uint16)
    assert (decoded(thumbnail(shrink(deep))) > 253).all()


def test_colours_keep_their_order() -> None:
    red = np.zeros((100, 100, 3), np.uint8)
    red[..., 0] = 250
    shown = decoded(thumbnail(shrink(red))).mean(axis=(0, 1))
    assert shown[0] > 240 > 10 > max(shown[1:])


@pytest.mark.parametrize("channels", [1, 3])
def test_a_frame_is_drawn_around_a_tile_and_leaves_the_thumbnail_as_it_was(channels: int) -> None:
    small = np.full((50, 100, channels), 90, np.uint8)
    framed = frame(small, corner=(400, 800), side=400, size=(1000, 2000))
    assert framed.shape == (50, 100, 3)
    assert (small == 90).all()
    changed = (framed != 90).any(2)
    rows, columns = (np.flatnonzero(changed.any(axis)) for axis in (1, 0))
    assert (rows[0], rows[-1], columns[0], columns[-1]) == (19, 40, 39, 60)
    assert not changed[20:40, 40:60].any()  # what is framed is seen
