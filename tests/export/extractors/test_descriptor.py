"""The filter bank as a descriptor: ONNX Runtime agrees with means over the quarters, and degradations move vectors."""

from functools import cache

import cv2
import numpy as np
import pytest
import torch

from bundles import pictures
from export.extractors.descriptor import filter_bank_descriptor
from export.runtime.descriptor import Descriptor
from vae_core.features.filter_bank import FilterBank


@cache
def descriptor_of(shape: tuple[int, int, int]) -> Descriptor:
    return Descriptor(filter_bank_descriptor(shape), shape, "the bank", provider="cpu")


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 27, 19)])
def test_a_vector_is_the_mean_of_the_maps_over_each_quarter(shape: tuple[int, int, int]) -> None:
    images = np.random.default_rng(0).integers(0, 256, (3, *shape), dtype=np.uint8)
    descriptor = descriptor_of(shape)
    found = descriptor.describe(images)
    with torch.inference_mode():
        maps = FilterBank(shape)(torch.from_numpy(images)).numpy()
    down, across = (-(-size // 2) for size in maps.shape[2:])
    quarters = [
        maps[:, :, rows, columns].mean(axis=(2, 3))
        for rows in (slice(down), slice(maps.shape[2] - down, None))
        for columns in (slice(across), slice(maps.shape[3] - across, None))
    ]
    np.testing.assert_allclose(found, np.stack(quarters, axis=2).reshape(3, -1), rtol=1e-4, atol=1e-4)
    assert descriptor.size == found.shape[1] == 4 * maps.shape[1]
    np.testing.assert_allclose(descriptor.describe(images[1:2])[0], found[1], rtol=1e-5, atol=1e-5)


def test_blur_and_noise_move_the_vectors_further_the_stronger_they_are() -> None:
    images = pictures(40, (1, 28, 28))
    descriptor = descriptor_of((1, 28, 28))
    clear, rng = descriptor.describe(images), np.random.default_rng(0)

    def distance(changed: np.ndarray) -> float:
        return float(np.linalg.norm(descriptor.describe(changed).mean(0) - clear.mean(0)))

    blurred = [
        distance(np.stack([cv2.GaussianBlur(image[0], (0, 0), sigma)[None] for image in images]))
        for sigma in (0.5, 0.8, 1.5)
    ]
    noisy = [
        distance(np.clip(images + rng.normal(0, sigma, images.shape), 0, 255).astype(np.uint8)) for sigma in (4, 12, 30)
    ]
    for distances in (blurred, noisy):
        assert 0 < distances[0] < distances[1] < distances[2]
