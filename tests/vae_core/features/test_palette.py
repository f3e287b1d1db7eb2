"""The palette is a soft histogram of colours."""

import numpy as np
import pytest
import torch

from vae_core.features.palette import palette

_FLOOR = 0.003


def shares(image: torch.Tensor) -> torch.Tensor:
    return palette(image).exp() - _FLOOR


@pytest.mark.parametrize(("channels", "bins"), [(1, 8), (2, 8), (3, 64), (4, 64)])
def test_shares_sum_to_one_for_any_image(channels: int, bins: int) -> None:
    rng = np.random.default_rng(0)
    image = torch.from_numpy(rng.integers(0, 256, (3, channels, 13, 9), dtype=np.uint8))
    found = shares(image)
    assert found.shape == (3, bins)
    torch.testing.assert_close(found.sum(1), torch.ones(3), rtol=0, atol=1e-5)


def test_it_is_the_mean_over_pixels_of_trilinear_weights_in_float64() -> None:
    rng = np.random.default_rng(1)
    image = rng.integers(0, 256, (1, 3, 6, 5), dtype=np.uint8)
    expected = np.zeros((4, 4, 4))
    for red, green, blue in image[0].reshape(3, -1).T / 255 * 3:
        near = [np.maximum(0, 1 - np.abs(value - np.arange(4))) for value in (red, green, blue)]
        expected += np.einsum("a,b,c->abc", *near) / 30
    np.testing.assert_allclose(shares(torch.from_numpy(image))[0].numpy(), expected.ravel(), atol=1e-6)


def test_a_hue_is_told_from_another_of_the_same_grey_levels() -> None:
    rng = np.random.default_rng(2)
    image = torch.from_numpy(rng.integers(0, 256, (1, 3, 8, 8), dtype=np.uint8))
    image[:, 0] = 255
    swapped = image[:, [2, 1, 0]]
    assert (palette(image) - palette(swapped)).abs().max() > 1
    torch.testing.assert_close(palette(image), palette(image.flip(2, 3)))  # where they lie does not matter
