"""The mixtures behind the outlier score: as many Gaussians as clusters, and unusual vectors are surprising."""

import numpy as np
import pytest
import torch

from bundles import codes, described, pictures, trained
from export.graphs.fit import fit_codes, fit_density, fit_outlier_model
from vae_core.errors import UserError
from vae_core.outliers.density import log_density, surprise
from vae_core.outliers.score import score


def kinds(count: int, seed: int = 0) -> np.ndarray:
    """Vectors in five distant clusters."""
    random = np.random.default_rng(seed)
    centres = 20 * np.random.default_rng(1).normal(size=(5, 3))
    return np.asarray(centres[random.integers(0, 5, count)] + random.normal(size=(count, 3)) + 100)


def test_it_finds_as_many_gaussians_as_there_are_clusters() -> None:
    density = fit_density(kinds(2000), ridge=1e-4, least_scale=1e-2)
    assert len(density.mean) == 5
    weights = density.log_weight.exp().numpy()
    assert weights.sum() == pytest.approx(1, rel=1e-6)
    assert (np.abs(weights - 0.2) < 0.05).all()


def test_one_gaussian_is_one_gaussian() -> None:
    vectors = np.random.default_rng(0).normal(size=(1000, 4))
    density = fit_density(vectors, ridge=1e-6, least_scale=1e-2)
    assert len(density.mean) == 1
    # −½ Σ [log 2π + u²], within the error of mean and variance from a thousand draws
    point = torch.tensor([[0.0, 1.0, -1.0, 2.0]])
    assert log_density(point, density).item() == pytest.approx(-0.5 * (4 * np.log(2 * np.pi) + 6), abs=0.5)


def test_vectors_between_clusters_are_surprising_and_usual_ones_are_not() -> None:
    vectors = torch.from_numpy(kinds(2000)).float()
    density = fit_density(vectors.double().numpy(), 1e-3, 1e-2)
    found = surprise(log_density(vectors, density), density)
    assert found.median().item() == pytest.approx(np.log(2), rel=1e-3)  # half exceed the median
    between = torch.from_numpy(kinds(2000).mean(0, keepdims=True)).float()
    assert surprise(log_density(between, density), density).item() > found.quantile(0.999).item()


def test_it_is_deterministic() -> None:
    first, second = (fit_density(kinds(300), 1e-2, 1e-2) for _ in range(2))
    for a, b in zip(first, second, strict=True):
        assert torch.equal(a, b)


def test_an_entry_without_variance_does_no_harm() -> None:
    vectors = kinds(200)
    vectors[:, 1] = 7.0
    density = fit_density(vectors, 1e-2, 1e-2)
    assert all(torch.isfinite(value).all() for value in density)
    odd = torch.from_numpy(vectors[:1] + np.array([0, 1, 0])).float()
    assert surprise(log_density(odd, density), density).item() > 5


def test_few_images_are_enough_for_one_gaussian() -> None:
    assert len(fit_density(np.random.default_rng(0).normal(size=(20, 30)), 1e-2, 1e-2).mean) <= 5


def test_non_finite_codes_are_an_error_of_the_run() -> None:
    draws = kinds(100)
    draws[3, 1] = np.inf
    with pytest.raises(UserError, match="diverged"):
        fit_codes(draws)


def test_the_mixture_over_codes_is_the_density_of_its_draws() -> None:
    draws = kinds(4000)
    mixture = fit_codes(draws)
    assert np.exp(mixture.log_weight).sum() == pytest.approx(1, rel=1e-5)
    others = kinds(2000, seed=7)
    again = mixture.draw(np.random.default_rng(0).normal(size=(2000, mixture.noise_size)).astype(np.float32))
    # Draws from it are as likely as those it was fitted to, within four standard errors.
    ours, theirs = mixture.log_prob(again), mixture.log_prob(others.astype(np.float32))
    assert abs(ours.mean() - theirs.mean()) < 4 * np.hypot(ours.std(), theirs.std()) / 2000**0.5 + 0.05


def test_the_density_of_codes_is_the_prior() -> None:
    model = trained()
    mixture = codes(model)
    outlier = fit_outlier_model(described(model, pictures(100, seed=1)), model.statistic_groups, mixture)
    images = torch.from_numpy(pictures(20, seed=3))
    with torch.inference_mode():
        values = model.statistics({"image": images})
        found = score(values, outlier)["log_aggregate_posterior"]
    np.testing.assert_allclose(found.numpy(), mixture.log_prob(values["mean"].numpy()), rtol=1e-4, atol=1e-3)


def test_outliers_have_higher_scores() -> None:
    model = trained()
    outlier = fit_outlier_model(described(model, pictures(400, seed=1)), model.statistic_groups, codes(model))
    noise = np.random.default_rng(0).integers(0, 256, (50, 1, 20, 16), dtype=np.uint8)
    upright = pictures(50, seed=5)

    def scores(images: np.ndarray) -> torch.Tensor:
        with torch.inference_mode():
            values = model.statistics({"image": torch.from_numpy(np.ascontiguousarray(images))})
            return score(values, outlier)["outlier_score"]

    usual = scores(upright)
    for outlying in (noise, 255 - upright, np.zeros_like(upright), np.full_like(upright, 200)):
        assert scores(outlying).min() > usual.max()


def test_non_finite_statistics_are_an_error_of_the_run() -> None:
    model = trained()
    for group in model.statistic_groups:
        for value in group.inputs:
            found = described(model, pictures(20))
            found[value.name][3] = np.nan
            with pytest.raises(UserError, match="diverged"):
                fit_outlier_model(found, model.statistic_groups, codes(model))
