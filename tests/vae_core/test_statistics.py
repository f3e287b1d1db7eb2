import numpy as np
import torch

from vae_core.config import ModelConfig
from vae_core.model import seeded
from vae_core.statistics import fit_normal, mahalanobis, statistics

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
