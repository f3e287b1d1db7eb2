"""Conversion keeps matching images unchanged, converts with `resize`, and otherwise states the mismatch."""

import numpy as np
import pytest

from export.images.contract import BadImage, ImageContract
from export.images.convert import fit
from image_files import pictures


def interleaved(shape: tuple[int, int, int]) -> np.ndarray:
    return pictures(1, shape)[0].transpose(1, 2, 0)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("resize", [False, True])
def test_a_matching_image_is_unchanged(channels: int, resize: bool) -> None:
    image = interleaved((channels, 6, 7))
    np.testing.assert_array_equal(fit(image, ImageContract(channels, 6, 7, resize)).transpose(1, 2, 0), image)


@pytest.mark.parametrize("stored", [1, 2, 3, 4])
@pytest.mark.parametrize("wanted", [1, 2, 3, 4])
def test_every_channel_count_converts_to_every_other(stored: int, wanted: int) -> None:
    converted = fit(interleaved((stored, 6, 7)), ImageContract(wanted, 12, 3, resize=True))
    assert converted.shape == (wanted, 12, 3)
    assert converted.dtype == np.uint8


@pytest.mark.parametrize("stored", [1, 2, 3, 4])
@pytest.mark.parametrize("wanted", [1, 2, 3, 4])
@pytest.mark.parametrize("level", [0, 100, 255])
def test_an_opaque_grey_stays_the_same_grey(stored: int, wanted: int, level: int) -> None:
    image = np.full((4, 4, stored), level, np.uint8)
    if stored in (2, 4):
        image[..., -1] = 255
    converted = fit(image, ImageContract(wanted, 4, 4, resize=True))
    colours = converted[:-1] if wanted in (2, 4) else converted
    assert (colours == level).all()
    if wanted in (2, 4):
        assert (converted[-1] == 255).all()


@pytest.mark.parametrize(("alpha", "expected"), [(0, 255), (255, 40), (51, 212)])
def test_alpha_is_composited_over_white(alpha: int, expected: int) -> None:
    image = np.array([[[40, 40, 40, alpha]]], np.uint8)
    assert fit(image, ImageContract(1, 1, 1, resize=True)).item() == expected
    assert fit(image, ImageContract(3, 1, 1, resize=True)).tolist() == [[[expected]]] * 3


def test_grey_is_the_luma_of_bt_601() -> None:
    image = interleaved((3, 9, 9))
    grey = fit(image, ImageContract(1, 9, 9, resize=True))[0]
    assert np.abs(grey - image @ np.array([0.299, 0.587, 0.114])).max() <= 0.51


def test_shrinking_averages_areas() -> None:
    image = interleaved((1, 8, 12))
    small = fit(image, ImageContract(1, 4, 6, resize=True))[0]
    means = image[..., 0].reshape(4, 2, 6, 2).mean(axis=(1, 3))
    assert np.abs(small - means).max() <= 0.51


@pytest.mark.parametrize(("height", "width"), [(8, 32), (32, 8), (3, 5), (64, 48), (1, 1000)])
def test_another_aspect_ratio_is_letterboxed(height: int, width: int) -> None:
    """One factor for both axes, and equal bars on both sides: the centre and the extent of the image give both away."""
    box = fit(np.full((height, width, 3), 200, np.uint8), ImageContract(3, 16, 16, resize=True))
    for axis, size in ((1, height), (2, width)):
        inside = np.flatnonzero((box == 200).any(axis=(0, 3 - axis)))
        expected = max(1, round(size * 16 / max(height, width)))
        assert len(inside) == expected
        assert abs((inside[0] + inside[-1]) - 15) <= 1
    assert set(np.unique(box)) <= {0, 200}


def test_bars_are_transparent_where_the_model_has_alpha() -> None:
    box = fit(np.full((4, 8, 3), 200, np.uint8), ImageContract(4, 8, 8, resize=True))
    assert (box[3, 2:6] == 255).all()
    assert not box[:, [0, 1, 6, 7]].any()


def test_enlarging_does_not_overshoot() -> None:
    image = np.clip(interleaved((1, 4, 4)), 30, 200)
    large = fit(image, ImageContract(1, 16, 16, resize=True))
    assert image.min() <= large.min() <= large.max() <= image.max()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_another_depth_or_shape_is_refused_without_resize(dtype: type) -> None:
    with pytest.raises(BadImage, match="use --resize to convert it"):
        fit(np.zeros((4, 4, 1 if dtype is np.uint16 else 2), dtype), ImageContract(1, 4, 4))


@pytest.mark.parametrize("shape", [(0, 4, 4), (5, 4, 4), (1, 0, 4), (1, 4, -1)])
def test_invalid_contracts_are_refused(shape: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match=r"must be 1, 2, 3 or 4, got|must be at least 1, got"):
        ImageContract(*shape)
