"""Pixel AUROC and AUPRO against their definitions and in closed form."""

import numpy as np
import pytest

import pixel_metrics
from jobs.evaluate.localisation import LEVELS, LIMITS, PixelCounts, aupro, level, pixel_auroc

SHAPE = (30, 24)


def counted(maps: np.ndarray, masks: np.ndarray) -> PixelCounts:
    counts = PixelCounts()
    counts.add(maps.astype(np.float32), masks)
    return counts


def blobs(count: int, seed: int = 0) -> np.ndarray:
    """Masks with one to three rectangles of very different sizes, some of them touching; every fourth is empty."""
    rng = np.random.default_rng(seed)
    masks = np.zeros((count, *SHAPE), np.bool_)
    for index, mask in enumerate(masks):
        for _ in range(rng.integers(1, 4) if index % 4 else 0):
            row, column = rng.integers(0, SHAPE)
            mask[row : row + rng.integers(1, 12), column : column + rng.integers(1, 12)] = True
    return masks


def noisy_maps(masks: np.ndarray, gain: float, seed: int = 1) -> np.ndarray:
    """Positive values over several orders of magnitude, higher where defective."""
    rng = np.random.default_rng(seed)
    return np.exp(rng.normal(size=masks.shape) + gain * masks).astype(np.float32)


@pytest.mark.parametrize("gain", [0.0, 0.7, 3.0])
def test_the_metrics_equal_their_definitions(gain: float) -> None:
    masks = blobs(6)
    maps = noisy_maps(masks, gain)
    counts = counted(maps, masks)
    assert counts.regions == sum(len(pixel_metrics.regions(mask)) for mask in masks)
    pairs = [(pixel_auroc(counts), pixel_metrics.auroc(maps, masks))]
    pairs += [(aupro(counts, limit), pixel_metrics.aupro(maps, masks, limit)) for limit in (*LIMITS, 1.0)]
    for measured, exact in pairs:
        assert abs(measured.value - exact) <= measured.rounding + 1e-12
        assert measured.rounding < 2e-3


def test_values_of_few_digits_are_counted_exactly() -> None:
    masks = blobs(8)
    maps = np.floor(noisy_maps(masks, 1.5) * 4)
    counts = counted(maps, masks)
    assert pixel_auroc(counts).value == pytest.approx(pixel_metrics.auroc(maps, masks), abs=1e-12)
    for limit in LIMITS:
        assert aupro(counts, limit).value == pytest.approx(pixel_metrics.aupro(maps, masks, limit), abs=1e-12)


def test_the_bound_holds_where_all_values_share_a_level() -> None:
    masks = blobs(8)
    maps = np.float32(1) + np.float32(1e-4) * noisy_maps(masks, 1.0).clip(max=9)
    counts = counted(maps, masks)
    measured, exact = pixel_auroc(counts), pixel_metrics.auroc(maps, masks)
    assert (measured.value, measured.rounding) == (0.5, 0.5)
    assert abs(measured.value - exact) <= measured.rounding
    measured, exact = aupro(counts, 0.3), pixel_metrics.aupro(maps, masks, 0.3)
    assert exact > 0.3
    assert abs(measured.value - exact) <= measured.rounding


@pytest.mark.parametrize("limit", [*LIMITS, 1.0])
def test_closed_forms(limit: float) -> None:
    masks = blobs(40)
    perfect, constant = counted(masks + 0.5, masks), counted(np.full(masks.shape, 2.0), masks)
    assert pixel_auroc(perfect).value == aupro(perfect, limit).value == 1
    assert pixel_auroc(constant).value == 0.5
    assert aupro(constant, limit).value == pytest.approx(limit / 2)
    random = counted(noisy_maps(masks, 0.0), masks)
    assert pixel_auroc(random).value == pytest.approx(0.5, abs=0.02)
    # The overlap of a region of one pixel is 0 or 1: a standard error of ½/√regions at most.
    assert aupro(random, limit).value == pytest.approx(limit / 2, abs=3 * 0.5 / np.sqrt(random.regions))
    inverted = counted(2.0 - masks, masks)
    assert pixel_auroc(inverted).value == 0
    assert aupro(inverted, limit).value == 0


def test_a_small_region_counts_as_much_as_a_large_one() -> None:
    masks = np.zeros((1, *SHAPE), np.bool_)
    masks[0, 2, 3] = masks[0, 10:20, 5:15] = True
    only_large, only_small = np.zeros(masks.shape), np.zeros(masks.shape)
    only_large[0, 10:20, 5:15] = only_small[0, 2, 3] = 1.0
    for maps in (only_large, only_small):
        # Half of the regions at no false positive, then the straight line to all of them at all.
        assert aupro(counted(maps, masks), 0.3).value == pytest.approx(0.5 + 0.5 * 0.3 / 2)


def test_pixels_that_touch_at_a_corner_are_one_region() -> None:
    masks = np.zeros((1, *SHAPE), np.bool_)
    masks[0, [1, 2, 3, 10], [1, 2, 1, 10]] = True
    assert counted(np.zeros(masks.shape), masks).regions == 2


def test_counts_do_not_depend_on_how_images_are_divided() -> None:
    masks = blobs(9)
    maps = noisy_maps(masks, 1.0)
    whole, parts = counted(maps, masks), PixelCounts()
    for index in range(0, 9, 2):
        parts.merge(counted(maps[index : index + 2], masks[index : index + 2]))
    assert (parts.images, parts.defects, parts.regions) == (whole.images, whole.defects, whole.regions)
    np.testing.assert_array_equal(parts.normal, whole.normal)
    np.testing.assert_array_equal(parts.defective, whole.defective)
    np.testing.assert_allclose(parts.overlap, whole.overlap, rtol=1e-12)


def test_pixels_outside_the_region_are_not_counted() -> None:
    masks = blobs(9)
    maps = noisy_maps(masks, 1.0)
    inside = np.zeros(SHAPE, np.bool_)
    inside[5:20, :10] = True
    counts, cropped = PixelCounts(), counted(maps[:, 5:20, :10], masks[:, 5:20, :10])
    counts.add(maps, masks, inside)
    assert (counts.images, counts.defects, counts.regions) == (9, cropped.defects, cropped.regions)
    for name in ("normal", "defective", "overlap"):
        np.testing.assert_array_equal(getattr(counts, name), getattr(cropped, name))


def test_levels_keep_the_order_and_are_fine() -> None:
    rng = np.random.default_rng(0)
    extremes = np.array([-np.finfo(np.float32).max, -1e-45, -0.0, 0.0, 1e-45, np.finfo(np.float32).max])
    values = np.sort(np.concatenate([extremes, 10.0 ** rng.uniform(-20, 20, 500) * rng.choice([-1, 1], 500)]))
    levels = level(values.astype(np.float32)).astype(np.int64)
    assert (np.diff(levels) >= 0).all()
    assert 0 <= levels[0] < levels[-1] < LEVELS
    assert level(np.float32([-0.0])) == level(np.float32([0.0]))
    some = values[(np.abs(values) > 1e-30) & (np.abs(values) < 1e30)].astype(np.float32)
    assert (level(np.float32(1.002) * some) != level(some)).all()
