"""Estimates of log p(x) with fresh noise: against the exact value, against torch, and their own errors."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from export.bundle.format import Bundle, write_bundle
from export.runtime.estimates import bound_sizes, estimate
from export.runtime.likelihood import ImageLikelihood, LikelihoodEstimator
from export.storage import Folder
from gaussian_bundle import draw_images, exact_log_px, write_gaussian_bundle
from vae_core.noise import Purpose, standard_normal

MEAN_ERROR, LOG_SCALE_ERROR = 0.15, 0.1


@pytest.fixture(scope="module")
def inexact(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The oracle with a biased approximate posterior."""
    return write_gaussian_bundle(Folder.at(tmp_path_factory.mktemp("oracle")), MEAN_ERROR, LOG_SCALE_ERROR)


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return draw_images(300, seed=3)


@pytest.fixture(scope="module")
def estimated(inexact: Bundle, images: np.ndarray) -> list[ImageLikelihood]:
    estimator = LikelihoodEstimator(inexact, samples=600)
    return [estimator.estimate(image, row) for row, image in enumerate(images)]


@pytest.mark.parametrize("name", ["importance", "monte_carlo"])
def test_estimates_reach_the_exact_value_within_their_own_errors(
    estimated: list[ImageLikelihood], images: np.ndarray, name: str
) -> None:
    found = [getattr(each, name) for each in estimated]
    log_px, variance, bias = (np.array([getattr(f, n) for f in found]) for n in ("log_px", "variance", "bias"))
    difference = log_px - bias - exact_log_px(images)
    standardised = difference / np.sqrt(variance)
    assert np.mean(np.abs(standardised) < 2) > 0.9  # 95% of a normal variable
    assert np.mean(standardised**2) == pytest.approx(1, abs=0.35)
    # The mean over the images, whose errors are independent, within its own error.
    assert abs(difference.mean()) < 3.5 * np.sqrt(variance.mean() / len(images))
    assert variance.mean() < 0.1
    assert bias.mean() < 0


def test_the_elbo_is_the_exact_one_within_its_error(estimated: list[ImageLikelihood], images: np.ndarray) -> None:
    # KL(q ‖ posterior) per dimension: ½ (ρ² + δ²/σ² − 1 − log ρ²), with ρ the ratio of scales and δ the shift.
    from gaussian_bundle import DIAGONAL, SCALE

    ratio = np.exp(2 * LOG_SCALE_ERROR)
    gap = 0.5 * np.sum(ratio + MEAN_ERROR**2 / (SCALE**2 / DIAGONAL) - 1 - np.log(ratio))
    difference = np.array([each.elbo.value for each in estimated]) - (exact_log_px(images) - gap)
    variance = np.array([each.elbo.variance for each in estimated])
    assert np.mean(difference**2 / variance) == pytest.approx(1, abs=0.35)
    assert abs(difference.mean()) < 3.5 * np.sqrt(variance.mean() / len(images))


def test_bounds_rise_with_the_samples_and_begin_at_the_elbo(estimated: list[ImageLikelihood]) -> None:
    mean = np.mean([each.importance.bounds for each in estimated], axis=0)
    error = np.std([each.importance.bounds for each in estimated], axis=0).max() / len(estimated) ** 0.5
    assert len(mean) == len(bound_sizes(600)) == 11
    assert (np.diff(mean) > -0.05 * error).all()
    assert mean[0] == pytest.approx(np.mean([each.elbo.value for each in estimated]), abs=0.1)
    assert estimated[0].importance.bounds[-1] == pytest.approx(estimated[0].importance.log_px, abs=1e-12)


def test_at_the_true_posterior_every_weight_is_p_of_x(tmp_path: Path, images: np.ndarray) -> None:
    estimator = LikelihoodEstimator(write_gaussian_bundle(Folder.at(tmp_path)), samples=20)
    for row, expected in enumerate(exact_log_px(images[:10])):
        found = estimator.estimate(images[row], row).importance
        # The decoder computes in float32.
        assert found.log_px == pytest.approx(expected, abs=1e-4)
        assert found.variance < 1e-8
        assert found.effective_samples == pytest.approx(20, rel=1e-6)


def test_an_estimate_depends_on_seed_and_row_alone(inexact: Bundle, images: np.ndarray) -> None:
    first, second = (LikelihoodEstimator(inexact, samples=300, seed=1) for _ in range(2))
    first.estimate(images[1], 12)  # what came before does not matter
    one, other = first.estimate(images[0], 5), second.estimate(images[0], 5)
    assert one.elbo == other.elbo
    assert one.importance.bounds.tolist() == other.importance.bounds.tolist()
    others = [second.estimate(images[0], 6), LikelihoodEstimator(inexact, samples=300, seed=2).estimate(images[0], 5)]
    assert len({each.monte_carlo.log_px for each in (one, *others)}) == 3


@pytest.mark.parametrize("name", ["mixture", "normal"])
def test_it_equals_torch_with_the_same_noise_under_either_prior(tmp_path: Path, name: Any) -> None:
    torch = pytest.importorskip("torch")
    from bundles import SHAPE, contents, pictures, trained
    from export.graphs.options import BuildOptions
    from vae_core.estimators import effective_samples, importance_log_weights, log_mean_exp, monte_carlo_log_weights

    model, images, count = trained("discretised-logistic", SHAPE), pictures(6, seed=9), 40
    bundle = write_bundle(Folder.at(tmp_path), *contents(options=BuildOptions(samples=8, prior=name)))
    assert bundle.prior.name == name
    estimator = LikelihoodEstimator(bundle, samples=count, seed=3)
    found = [estimator.estimate(image, row) for row, image in enumerate(images)]
    arrays = {key: torch.from_numpy(values) for key, values in bundle.prior.to_arrays().items()}
    prior = type(bundle.prior).from_arrays(arrays, model.config.latent_dim)

    def noise(purpose: Purpose, size: int) -> Any:
        return torch.from_numpy(standard_normal(3, purpose, range(6), count * size).reshape(6, count, size))

    with torch.inference_mode():
        batch = {"image": torch.from_numpy(images)}
        epsilon = noise(Purpose.EVALUATE_POSTERIOR, model.noise_size)
        weights = importance_log_weights(model, batch, epsilon, prior).double()
        prior_weights = monte_carlo_log_weights(
            model, batch, noise(Purpose.EVALUATE_PRIOR, prior.noise_size), prior
        ).double()
        posterior = model.posterior(batch)
        log_px_z = torch.stack([model.log_px_z(batch, posterior.draw(e)) for e in epsilon.unbind(1)], dim=1)
    np.testing.assert_allclose([f.importance.log_px for f in found], log_mean_exp(weights), rtol=1e-5)
    np.testing.assert_allclose([f.monte_carlo.log_px for f in found], log_mean_exp(prior_weights), rtol=1e-5)
    kl = prior.kl(posterior) if prior.has_closed_kl else (log_px_z - weights).mean(1)
    np.testing.assert_allclose([f.elbo.kl for f in found], kl, rtol=1e-4)
    np.testing.assert_allclose([f.elbo.value for f in found], log_px_z.mean(1) - kl, rtol=1e-5)
    np.testing.assert_allclose([f.importance.effective_samples for f in found], effective_samples(weights), rtol=1e-2)


@pytest.mark.parametrize("spread", [0.0, 0.5, 5.0, 300.0])
@pytest.mark.parametrize("count", [2, 7, 64])
def test_the_jackknife_equals_leaving_out_each_sample(spread: float, count: int) -> None:
    log_weights = -1900 + np.random.default_rng(0).normal(0, spread, count)
    found = estimate(log_weights)

    def log_mean(values: np.ndarray) -> float:
        return float(np.logaddexp.reduce(values) - np.log(len(values)))

    left_out = np.array([log_mean(np.delete(log_weights, k)) for k in range(count)])
    assert found.log_px == pytest.approx(log_mean(log_weights), rel=1e-13)
    assert found.variance == pytest.approx((count - 1) * left_out.var(), rel=1e-6, abs=1e-20)
    assert found.bias == pytest.approx((count - 1) * (left_out.mean() - found.log_px), abs=1e-9)
    assert 1 - 1e-12 <= found.effective_samples <= count + 1e-9
    groups = log_weights[: count // 2 * 2].reshape(-1, 2)
    assert found.bounds[1] == pytest.approx(np.mean([log_mean(group) for group in groups]), rel=1e-13)
    assert found.bounds[0] == pytest.approx(log_weights.mean(), rel=1e-13)


def test_bound_sizes() -> None:
    assert bound_sizes(2) == [1, 2]
    assert bound_sizes(8) == [1, 2, 4, 8]
    assert bound_sizes(1000)[-3:] == [256, 512, 1000]
