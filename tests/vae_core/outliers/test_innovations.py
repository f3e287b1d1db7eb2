import numpy as np
import pytest
import torch

from vae_core.likelihoods import likelihood
from vae_core.outliers.innovations import INNOVATIONS, innovation_statistics
from vae_core.outliers.pixel_statistics import pixel_surprise


def statistics(level: np.ndarray, mean: np.ndarray, deviation: float) -> dict[str, float]:
    """Of one image under a Gaussian of that mean and standard deviation, in grey levels."""
    family = likelihood("gaussian")
    x, location = (torch.from_numpy(values)[None, None].double() for values in (level, mean))
    parameters = {"location": location / 255, "log_scale": torch.full_like(location, np.log(deviation / 255))}
    surprise = pixel_surprise(family, x, parameters)
    found = innovation_statistics(x, parameters, surprise, family)
    assert [*found] == [statistic.name for statistic in INNOVATIONS.statistics]
    return {name: float(value) for name, value in found.items()}


def test_they_are_those_of_standardised_residuals_of_a_gaussian() -> None:
    rng = np.random.default_rng(0)
    mean = rng.uniform(100, 150, (9, 7))
    d = rng.uniform(-3, 3, mean.shape)
    found = statistics(mean + 8 * d, mean, 8.0)
    power = (d**2).mean() + 0.1
    assert found["innovation_across"] == pytest.approx((d[:, 1:] * d[:, :-1]).mean() / power)
    assert found["innovation_across_two"] == pytest.approx((d[:, 2:] * d[:, :-2]).mean() / power)
    assert found["innovation_down"] == pytest.approx((d[1:] * d[:-1]).mean() / power)
    assert found["innovation_down_two"] == pytest.approx((d[2:] * d[:-2]).mean() / power)
    assert found["innovation_power"] == pytest.approx(np.log(power))
    assert found["innovation_skew"] == pytest.approx((d**3).mean() / power**1.5)


def test_what_is_far_out_counts_as_five_deviations() -> None:
    mean = np.full((8, 8), 128.0)
    level = mean.copy()
    level[3, 3] = 255
    assert statistics(level, mean, 2.0)["innovation_power"] == pytest.approx(np.log(25 / 64 + 0.1))


def test_an_image_without_innovations_has_no_correlation() -> None:
    mean = np.full((8, 8), 128.0)
    found = statistics(mean, mean, 2.0)
    assert found["innovation_across"] == pytest.approx(0.0, abs=1e-9)
    assert found["innovation_skew"] == pytest.approx(0.0, abs=1e-9)
