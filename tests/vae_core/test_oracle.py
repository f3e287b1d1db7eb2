"""The bounds and estimators against a model whose log p(x) is known."""

import pytest
import torch

from vae_core.elbo import elbo_terms
from vae_core.estimators import (
    effective_samples,
    importance_log_weights,
    log_mean_exp,
    monte_carlo_log_weights,
)
from vae_core_oracle import LinearGaussian

REPEATS = 4000


def noise(*shape: int, seed: int = 7) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def mean_and_error(values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean over the first dimension and its standard error."""
    return values.mean(0), values.std(0) / len(values) ** 0.5


def elbo_draws(model: LinearGaussian, image: torch.Tensor) -> torch.Tensor:
    return torch.stack([elbo_terms(model, {"image": image}, e).elbo for e in noise(REPEATS, len(image), 3)])


def bound_draws(model: LinearGaussian, image: torch.Tensor, samples: int) -> torch.Tensor:
    repeated = image.repeat(REPEATS, 1)
    log_weights = importance_log_weights(model, {"image": repeated}, noise(len(repeated), samples, 3))
    return log_mean_exp(log_weights).reshape(REPEATS, len(image))


def test_bounds_are_ordered_below_the_exact_value() -> None:
    model = LinearGaussian(mean_error=0.3, log_scale_error=0.2)
    image = model.draw(4)
    exact = model.log_px(image)
    levels = [elbo_draws(model, image), *(bound_draws(model, image, k) for k in (2, 8, 32))]
    means, errors = zip(*map(mean_and_error, levels), strict=True)
    for lower, upper, error_low, error_high in zip(means, means[1:], errors, errors[1:], strict=False):
        assert (upper - lower > -3 * (error_low + error_high)).all()
    assert (means[1] > means[0] + 3 * errors[0]).all()  # strictly tighter where q is wrong
    assert (means[-1] < exact + 4 * errors[-1]).all()
    assert (exact - means[0] > 0.1).all()


def test_the_elbo_falls_short_by_the_kl_to_the_true_posterior() -> None:
    shift, log_ratio = 0.3, 0.2
    model, truth = LinearGaussian(mean_error=shift, log_scale_error=log_ratio), LinearGaussian()
    image = model.draw(4)
    variance = truth.posterior({"image": image}).log_variance.exp()
    # KL(q ‖ p(z|x)) = Σ ½ (ρ² + δ²/σ² − 1 − log ρ²), with ρ the ratio of the scales and δ the shift
    ratio = torch.tensor(2 * log_ratio, dtype=torch.float64).exp()
    gap = 0.5 * (ratio + shift**2 / variance - 1 - ratio.log()).sum(-1)
    mean, error = mean_and_error(elbo_draws(model, image))
    assert ((mean - (model.log_px(image) - gap)).abs() < 4 * error).all()


def test_all_bounds_are_exact_at_the_true_posterior() -> None:
    model = LinearGaussian()
    image = model.draw(16)
    exact = model.log_px(image)
    log_weights = importance_log_weights(model, {"image": image}, noise(16, 5, 3))
    # Every weight is p(x) itself, whatever the noise.
    torch.testing.assert_close(log_weights, exact[:, None].expand(-1, 5), rtol=0, atol=1e-10)
    torch.testing.assert_close(log_mean_exp(log_weights), exact, rtol=0, atol=1e-10)
    torch.testing.assert_close(
        effective_samples(log_weights), torch.full((16,), 5.0, dtype=torch.float64), rtol=0, atol=1e-8
    )
    # The sampled ELBO uses the closed KL, so only its mean is exact.
    mean, error = mean_and_error(elbo_draws(model, image))
    assert ((mean - exact).abs() < 4.5 * error).all()


@pytest.mark.parametrize("estimator", ["importance", "monte-carlo"])
def test_estimators_converge_to_the_exact_value(estimator: str) -> None:
    # A wide likelihood: draws from the prior hit it often enough for a normal error to apply.
    model = LinearGaussian(scale=1.5, mean_error=0.2, log_scale_error=0.1)
    image = model.draw(64)
    exact = model.log_px(image)
    weights = importance_log_weights if estimator == "importance" else monte_carlo_log_weights
    typical = []
    for samples in (100, 10_000):
        log_weights = weights(model, {"image": image}, noise(64, samples, 3))
        relative = torch.exp(log_weights - exact[:, None])  # mean one, if the estimator is unbiased
        mean, error = mean_and_error(relative.T)
        assert ((mean - 1).abs() < 5 * error).float().mean() > 0.95
        typical.append(((log_mean_exp(log_weights) - exact) ** 2).mean().sqrt())
    # A hundred times the samples give a tenth of the error; a fifth allows for chance.
    assert typical[1] < typical[0] / 5
    assert typical[1] < 0.1


def test_effective_samples_lie_between_one_and_all() -> None:
    log_weights = 50 * noise(100, 10)
    ess = effective_samples(log_weights)
    assert ((ess >= 1 - 1e-9) & (ess <= 10 + 1e-9)).all()
    assert effective_samples(torch.zeros(1, 7)).item() == pytest.approx(7)
