"""Tiles: every pixel is covered, none is made up, and a map stitched of its own tiles is itself."""

from typing import Any

import numpy as np
import pytest

from export.tiling import Stitch, Tiling, check_tile
from vae_core.errors import UserError

SIDES = [(1, 0), (4, 0), (4, 1), (5, 2), (8, 7)]


@pytest.mark.parametrize(("side", "overlap"), SIDES)
def test_tiles_cover_every_pixel_and_overlap_as_much_as_they_must(side: int, overlap: int) -> None:
    tiling = Tiling(side, side, overlap)
    for size in range(side, 4 * side + 3):
        places = tiling.places(size, side)
        assert (places[:, 1] == 0).all()
        starts = places[:, 0].tolist()
        covered = [pixel for start in starts for pixel in range(start, start + side)]
        assert set(covered) == set(range(size))
        steps = np.diff(starts)
        assert (steps > 0).all()
        assert (steps[:-1] == side - overlap).all()  # the last is moved back to the border
        assert (steps <= side - overlap).all()
        # No tile could be left out.
        assert len(starts) == 1 or (len(starts) - 2) * (side - overlap) + side < size


def test_tiles_are_in_reading_order_and_hold_their_pixels() -> None:
    tiling = Tiling(3, 4, 1)
    image = np.arange(2 * 8 * 10, dtype=np.uint8).reshape(2, 8, 10)
    places = tiling.places(8, 10)
    assert places.tolist() == [[y, x] for y in (0, 2, 4, 5) for x in (0, 3, 6)]
    for (top, left), tile in zip(places, tiling.cut(image, places), strict=True):
        np.testing.assert_array_equal(tile, image[:, top : top + 3, left : left + 4])


@pytest.mark.parametrize("size", [(8, 10), (3, 4), (9, 4), (20, 31)])
def test_a_map_stitched_of_its_own_tiles_is_itself(size: tuple[int, int]) -> None:
    tiling = Tiling(3, 4, 2)
    whole = np.random.default_rng(0).normal(size=size).astype(np.float32)
    places, stitch = tiling.places(*size), Stitch(tiling, *size)
    for start in range(0, len(places), 5):
        batch = places[start : start + 5]
        stitch.add(batch, tiling.cut(whole[None], batch)[:, 0])
    np.testing.assert_allclose(stitch.mean(), whole, rtol=1e-6)


def test_a_pixel_has_the_mean_of_the_tiles_that_cover_it() -> None:
    tiling, rng = Tiling(3, 4, 1), np.random.default_rng(1)
    places = tiling.places(7, 9)
    maps = rng.normal(size=(len(places), 3, 4)).astype(np.float32)
    stitch = Stitch(tiling, 7, 9)
    stitch.add(places, maps)
    for y in range(7):
        for x in range(9):
            over = [
                part[y - top, x - left]
                for (top, left), part in zip(places.tolist(), maps, strict=True)
                if 0 <= y - top < 3 and 0 <= x - left < 4
            ]
            assert stitch.mean()[y, x] == pytest.approx(np.mean(over, dtype=np.float64), rel=1e-5, abs=1e-6)


def test_an_image_smaller_than_a_tile_has_none() -> None:
    with pytest.raises(ValueError, match="at least as large as a tile, 4 pixels, got 3"):
        Tiling(4, 4, 0).places(9, 3)


def test_json_is_read_back() -> None:
    tiling = Tiling(4, 6, 2)
    assert Tiling.from_json(tiling.to_json(), (3, 4, 6)) == tiling
    assert tiling.describe() == "6×4 pixels that overlap by 2"
    assert Tiling(4, 6, 0).describe() == "6×4 pixels"


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ([4, 4, 0], "it must have height, width, overlap"),
        ({"height": 4, "width": 4}, "it must have"),
        ({"height": 4, "width": 4, "overlap": True}, "of integers"),
        ({"height": 4, "width": 4, "overlap": 4}, "less than the sides of a tile"),
        ({"height": 4, "width": 5, "overlap": 0}, "the size of the model's images"),
    ],
)
def test_another_value_is_no_tiling(value: Any, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        Tiling.from_json(value, (1, 4, 4))


@pytest.mark.parametrize(
    ("tile", "overlap", "problem"),
    [
        (0, 0, "--tile must be at least 1, got 0"),
        (8, 8, "--overlap must be at least 0 and less than --tile, got 8 with --tile 8"),
        (8, -1, "--overlap must be at least 0"),
        (None, 2, "got 2 with no --tile"),
    ],
)
def test_impossible_options_are_refused(tile: int | None, overlap: int, problem: str) -> None:
    with pytest.raises(UserError, match=problem):
        check_tile(tile, overlap)
