"""Gradient energy against differences written out."""

import numpy as np
import pytest

from jobs.evaluate.quality.sharpness import gradient_energy


def test_it_is_the_mean_of_squared_differences() -> None:
    images = np.random.default_rng(0).integers(0, 256, (3, 2, 5, 4), dtype=np.uint8)
    for image, found in zip(images.astype(int), gradient_energy(images), strict=True):
        across = [(image[c, y, x + 1] - image[c, y, x]) ** 2 for c in range(2) for y in range(5) for x in range(3)]
        down = [(image[c, y + 1, x] - image[c, y, x]) ** 2 for c in range(2) for y in range(4) for x in range(4)]
        assert found == pytest.approx(np.mean(across) + np.mean(down))


def test_flat_images_have_none_and_a_checkerboard_most() -> None:
    flat = np.full((1, 3, 6, 6), 77, np.uint8)
    board = (255 * (np.indices((6, 6)).sum(0) % 2)).astype(np.uint8)[None, None]
    assert gradient_energy(flat).tolist() == [0.0]
    assert gradient_energy(board).tolist() == [2 * 255.0**2]
    assert gradient_energy(board[:, :, :1]).tolist() == [255.0**2]
    assert gradient_energy(board[:, :, :1, :1]).tolist() == [0.0]
