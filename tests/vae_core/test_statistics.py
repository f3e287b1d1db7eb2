from itertools import permutations

import numpy as np
import torch

from vae_core.config import ModelConfig
from vae_core.model import seeded
from vae_core.statistics import contributions, deviations, fit_normal, mahalanobis, statistics

MODEL = seeded(ModelConfig(image_shape=(1, 12, 12), latent_dim=4, widths=(8, 8), hidden=16), 0).eval()


def test_mahalanobis_is_numpys_in_float64() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=(500, 4)) @ rng.normal(size=(4, 4)) + 5
    point = rng.normal(size=(10, 4))
    normal = fit_normal(torch.from_numpy(values))
    difference = point - values.mean(0)
    covariance = np.cov(values.T)
    covariance += 1e-3 * np.diag(np.diag(covariance))
    exact = np.sqrt(np.einsum("ni,ij,nj->n", difference, np.linalg.inv(covariance), difference))
    found = mahalanobis(torch.from_numpy(point).float(), normal)
    np.testing.assert_allclose(found.numpy(), exact, rtol=1e-4)


def test_the_distance_is_two_sided_and_zero_at_the_mean() -> None:
    normal = fit_normal(torch.randn(1000, 3, generator=torch.Generator().manual_seed(0)))
    assert mahalanobis(normal.mean[None], normal).item() == 0
    assert mahalanobis(torch.stack([normal.mean + 9, normal.mean - 9]), normal).min() > 5


def test_contributions_sum_to_the_score_and_are_shapley_values() -> None:
    rng = np.random.default_rng(0)
    values = torch.from_numpy(rng.normal(size=(300, 4)) @ rng.normal(size=(4, 4)) + 5)
    normal = fit_normal(values)
    points = values[:20].float() * 3
    found = contributions(points, normal)
    torch.testing.assert_close(found.sum(-1), mahalanobis(points, normal), rtol=1e-4, atol=1e-4)

    def squared(taking_part: list[int]) -> torch.Tensor:
        at = normal.mean.expand_as(points).clone()
        at[:, taking_part] = points[:, taking_part]
        return mahalanobis(at, normal) ** 2

    # Of s²: the mean, over all orders in which the statistics may join, of what each adds when it does.
    orders = list(permutations(range(4)))
    shapley = torch.zeros_like(points)
    for order in orders:
        for place, statistic in enumerate(order):
            added = squared(list(order[: place + 1])) - squared(list(order[:place]))
            shapley[:, statistic] += added / len(orders)
    score = mahalanobis(points, normal)[:, None]
    torch.testing.assert_close(found * score, shapley, rtol=1e-3, atol=1e-3)


def test_nothing_contributes_at_the_mean() -> None:
    normal = fit_normal(torch.randn(1000, 3, generator=torch.Generator().manual_seed(0)))
    assert (contributions(normal.mean[None], normal) == 0).all()


def test_deviations_are_signed_standard_scores() -> None:
    values = torch.randn(500, 3, generator=torch.Generator().manual_seed(0)) * torch.tensor([1.0, 10.0, 0.1]) + 4
    found = deviations(values, fit_normal(values))
    exact = (values - values.mean(0)) / values.std(0)
    torch.testing.assert_close(found, exact, rtol=1e-3, atol=1e-3)


def test_a_constant_statistic_does_no_harm() -> None:
    values = torch.randn(100, 3, generator=torch.Generator().manual_seed(0))
    values[:, 1] = 7.0
    normal = fit_normal(values)
    assert torch.isfinite(mahalanobis(values, normal)).all()


def test_statistics_are_finite_for_every_kind_of_image() -> None:
    generator = torch.Generator().manual_seed(0)
    image = torch.stack(
        [torch.full((1, 12, 12), k) for k in (0, 1, 128, 255)]
        + [torch.randint(0, 256, (1, 12, 12), generator=generator)]
    ).to(torch.uint8)
    with torch.inference_mode():
        values, posterior = statistics(MODEL, image)
        log_px_z = MODEL.log_px_z(image, posterior.mean)
    assert all(torch.isfinite(v).all() for v in values)
    torch.testing.assert_close(values.kl, posterior.kl())
    torch.testing.assert_close(values.reconstruction, log_px_z)


def test_an_image_is_scored_alone() -> None:
    image = torch.randint(0, 256, (6, 1, 12, 12), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    with torch.inference_mode():
        together, _ = statistics(MODEL, image)
        alone, _ = statistics(MODEL, image[2:3])
    for a, b in zip(together, alone, strict=True):
        torch.testing.assert_close(a[2:3], b, rtol=1e-5, atol=1e-5)
