import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vae_core.latents import StandardNormal
from vae_core.latents.diagonal_gaussian import DiagonalGaussian

finite = st.floats(-4, 4)


def gaussian(means: list[float], log_variances: list[float]) -> DiagonalGaussian:
    return DiagonalGaussian(
        torch.tensor(means, dtype=torch.float64, requires_grad=True),
        torch.tensor(log_variances, dtype=torch.float64, requires_grad=True),
    )


def test_log_prob_is_that_of_torch() -> None:
    g = gaussian([0.3, -1.0], [0.5, -2.0])
    z = torch.tensor([[0.1, 0.2], [5.0, -3.0]], dtype=torch.float64)
    reference = torch.distributions.Normal(g.mean, (0.5 * g.log_variance).exp()).log_prob(z).sum(-1)
    torch.testing.assert_close(g.log_prob(z), reference)
    standard = torch.distributions.Normal(0.0, 1.0).log_prob(z).sum(-1)
    torch.testing.assert_close(StandardNormal(2).log_prob(z), standard)


def test_kl_of_the_prior_to_itself_is_zero() -> None:
    assert StandardNormal(5).kl(gaussian([0.0] * 5, [0.0] * 5)).item() == 0.0


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(finite, finite), min_size=1, max_size=5))
def test_kl_is_never_negative_and_equals_torchs(values: list[tuple[float, float]]) -> None:
    g = gaussian([m for m, _ in values], [v for _, v in values])
    prior = torch.distributions.Normal(torch.zeros(()).double(), torch.ones(()).double())
    reference = torch.distributions.kl_divergence(
        torch.distributions.Normal(g.mean, (0.5 * g.log_variance).exp()), prior
    )
    assert StandardNormal(len(values)).kl(g) >= 0
    torch.testing.assert_close(StandardNormal(len(values)).kl_per_dimension(g), reference, rtol=1e-9, atol=1e-12)


def test_kl_keeps_its_digits_near_zero() -> None:
    g = DiagonalGaussian(torch.zeros(1), torch.tensor([1e-4]))  # fp32: σ² − 1 − log σ² ≈ 5e-9 would be lost
    exact = 0.5 * (torch.expm1(torch.tensor(1e-4, dtype=torch.float64)) - 1e-4)
    assert abs(StandardNormal(1).kl(g).item() - exact.item()) < 5e-12


def test_gradient_of_kl_is_the_hand_derived_one() -> None:
    # ∂KL/∂μ = μ, ∂KL/∂(log σ²) = ½ (σ² − 1)
    g = gaussian([0.3, -1.5, 2.0], [0.5, -2.0, 1.0])
    StandardNormal(3).kl(g).backward()
    torch.testing.assert_close(g.mean.grad, g.mean.detach())
    torch.testing.assert_close(g.log_variance.grad, 0.5 * (g.log_variance.detach().exp() - 1))


def test_monte_carlo_kl_and_its_gradient_agree_with_the_closed_form() -> None:
    g = gaussian([0.3, -1.0], [0.5, -1.0])
    noise = torch.randn(200_000, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    z = g.draw(noise)
    sampled = g.log_prob(z) - StandardNormal(2).log_prob(z)
    error = sampled.std() / len(noise) ** 0.5
    assert (sampled.mean() - StandardNormal(2).kl(g)).abs() < 4 * error
    exact = torch.autograd.grad(StandardNormal(2).kl(g), list(g))
    estimate = torch.autograd.grad(sampled.mean(), list(g))
    for a, b in zip(exact, estimate, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0.02)


def test_a_draw_has_the_mean_and_variance_of_the_distribution() -> None:
    g = gaussian([2.0], [1.0])
    z = g.draw(torch.randn(100_000, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)).detach()
    variance = torch.tensor(1.0).exp().item()
    assert abs(z.mean().item() - 2.0) < 4 * (variance / 1e5) ** 0.5
    assert abs(z.var().item() - variance) < 4 * variance * (2 / 1e5) ** 0.5


def test_the_log_density_of_a_draw_follows_from_its_noise() -> None:
    g = gaussian([0.3, -1.0], [0.5, -9.0])
    noise = torch.randn(50, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    torch.testing.assert_close(g.log_prob_of_draw(noise), g.log_prob(g.draw(noise)))


def test_numpy_and_torch_agree() -> None:
    g = gaussian([0.3, -1.0], [0.5, -2.0])
    same = DiagonalGaussian(*(values.detach().numpy() for values in g))
    noise = torch.randn(5, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for prior in (StandardNormal(2),):
        np.testing.assert_allclose(prior.kl(same), prior.kl(g).detach(), rtol=1e-14)
        np.testing.assert_allclose(prior.log_prob(noise.numpy()), prior.log_prob(noise), rtol=1e-14)
    np.testing.assert_allclose(same.draw(noise.numpy()), g.draw(noise).detach(), rtol=1e-14)
    np.testing.assert_allclose(same.log_prob(noise.numpy()), g.log_prob(noise).detach(), rtol=1e-14)
