import numpy as np
import pytest

from benchmarks.outliers.fresh_shifts import FRESH
from benchmarks.outliers.shifts import DEVELOPMENT, FINAL, FINAL_COLOUR, Shift, apply
from bundles import pictures

GREY, COLOUR = (1, 28, 28), (3, 32, 24)
CASES = [
    *((name, shift, shape) for name, shift in (DEVELOPMENT | FINAL | FRESH).items() for shape in (GREY, COLOUR)),
    *((name, shift, COLOUR) for name, shift in FINAL_COLOUR.items()),
]


def square(shape: tuple[int, int, int]) -> tuple[int, int, int]:
    return shape[0], shape[2], shape[2]


@pytest.mark.parametrize(("name", "shift", "shape"), CASES, ids=[f"{name} {shape[0]}" for name, _, shape in CASES])
def test_a_shift_depends_on_images_and_seed_alone(name: str, shift: Shift, shape: tuple[int, int, int]) -> None:
    images = pictures(12, square(shape) if name == "rotated 90°" else shape)
    before = images.copy()
    shifted = apply(shift, images, seed=3)
    np.testing.assert_array_equal(images, before)
    np.testing.assert_array_equal(apply(shift, images, seed=3), shifted)
    assert shifted.dtype == np.uint8
    assert shifted.shape == images.shape
    assert np.any(shifted != images, axis=(1, 2, 3)).mean() > 0.9


def test_families_are_disjoint() -> None:
    families = [DEVELOPMENT, FINAL | FINAL_COLOUR, FRESH]
    assert len({name for family in families for name in family}) == sum(len(family) for family in families)
    shifts = [shift for family in (DEVELOPMENT, FINAL, FRESH) for shift in family.values()]
    assert len(set(shifts)) == len(shifts)
