"""Ordinary images with heavy tails in one statistic must not hide outliers in the others.

The incident: of ordinary photographs some have a third of their pixels at 255. Their share of white pixels is dozens of
standard deviations from that of the others, which raised the threshold so far that nothing was found any more.
"""

import numpy as np
import numpy.typing as npt
import pytest
import torch

from export.graphs.fit import fit_density
from export.guarantees.p_values import threshold
from vae_core.outliers.density import log_density, surprise

STATISTICS, FPR = 12, 0.01
Vectors = npt.NDArray[np.float64]


def ordinary(count: int, seed: int) -> Vectors:
    """Normal numbers, but for the first: near zero in most images, and between 0.1 and 0.5 in one of fifty."""
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(count, STATISTICS))
    vectors[:, 1] += 0.9 * vectors[:, 2]
    is_white = rng.uniform(size=count) < 0.02
    vectors[:, 0] = np.where(is_white, rng.uniform(0.1, 0.5, count), rng.exponential(1e-3, count))
    return vectors


@pytest.mark.parametrize("images", [360, 2000])
def test_outliers_in_other_statistics_are_found(images: int) -> None:
    density = fit_density(ordinary(images, 0), 1e-2, 1e-2)

    def scores(vectors: Vectors) -> npt.NDArray[np.float32]:
        values = torch.from_numpy(vectors).float()
        return surprise(log_density(values, density), density).numpy()

    limit = threshold(np.sort(scores(ordinary(images, 1))), FPR)
    for statistic in (1, 5):
        odd = ordinary(500, 3)
        odd[:, statistic] = 6.0
        # With 360 images and the tail left as it is, 0.01 of them.
        assert np.mean(scores(odd) > limit) > 0.6, statistic
