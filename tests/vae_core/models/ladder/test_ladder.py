import math

import numpy as np
import pytest
import torch
from torch import Tensor

from vae_core.elbo import elbo_terms
from vae_core.errors import UserError
from vae_core.estimators import importance_log_weights, log_mean_exp
from vae_core.latents import StandardNormal
from vae_core.models import seeded
from vae_core.models.ladder.config import LadderConfig
from vae_core.models.ladder.model import LadderVAE
from vae_core.models.ladder.posterior import LadderPosterior
from vae_core.networks.ladder import TopDown


def ladder(shape: tuple[int, int, int] = (1, 12, 10), **options: object) -> LadderVAE:
    """A small ladder whose weights are large enough for every level to depend on those before it."""
    config = LadderConfig(**{"image_shape": shape, "widths": (6, 8), "latent_channels": (1, 2), **options})  # type: ignore[arg-type]
    model = seeded(config, 0)
    assert isinstance(model, LadderVAE)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return model.eval()


def images(count: int, shape: tuple[int, int, int] = (1, 12, 10), seed: int = 0) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).integers(0, 256, (count, *shape), dtype=np.uint8))


def noise(*size: int, seed: int = 0) -> Tensor:
    return torch.randn(*size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def double(model: LadderVAE, image: Tensor) -> tuple[LadderVAE, dict[str, Tensor]]:
    return model.double(), {"image": image.double()}


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("size", [(8, 8), (9, 31), (28, 28), (33, 64), (8, 256)])
def test_any_size_and_channel_count(channels: int, size: tuple[int, int]) -> None:
    shape = (channels, *size)
    model = ladder(shape, widths=(6, 8, 10), latent_channels=(1, 1, 2))
    with torch.no_grad():
        terms = model({"image": images(2, shape)}, torch.randn(2, model.noise_size))
        assert terms.reconstruction.shape == (2,)
        assert terms.kl_per_dimension.shape == (2, model.noise_size)
        assert torch.isfinite(terms.elbo).all()
        assert model.decoded(torch.zeros(3, model.noise_size))["image"].shape == (3, *shape)


@pytest.mark.parametrize("levels", [2, 6])
def test_two_to_six_levels(levels: int) -> None:
    model = ladder(widths=(4,) * levels, latent_channels=(1,) * levels, blocks=2)
    assert len(model.top_down.latents) == levels
    assert torch.isfinite(model({"image": images(2)}, torch.randn(2, model.noise_size)).elbo).all()


@pytest.mark.parametrize("causal", [0, 5])
def test_no_layer_mixes_images(causal: int) -> None:
    model, batch = double(ladder(causal=causal), images(4))
    batch["image"].requires_grad_()
    (gradient,) = torch.autograd.grad(model(batch, noise(4, model.noise_size)).elbo[1], batch["image"])
    assert gradient[1].abs().sum() > 0
    assert gradient[[0, 2, 3]].abs().sum() == 0


def test_every_pixel_reaches_the_latent_variables_and_each_of_them_the_image() -> None:
    model, batch = double(ladder((1, 13, 11), widths=(6, 6, 6), latent_channels=(1, 1, 1)), images(1, (1, 13, 11)))
    batch["image"].requires_grad_()
    (gradient,) = torch.autograd.grad(model.posterior(batch).mean.abs().sum(), batch["image"])
    assert (gradient != 0).all()
    z = noise(20, model.noise_size).requires_grad_()
    (gradient,) = torch.autograd.grad(model.decode_raw(z).abs().sum(), z)
    assert (gradient != 0).any(0).all()


@pytest.mark.parametrize("causal", [0, 5])
def test_the_top_down_pass_of_a_draw_is_the_decoder_at_it(causal: int) -> None:
    model, batch = double(ladder(causal=causal), images(3))
    epsilon = noise(3, model.noise_size)
    path = model.posterior(batch).path(epsilon)
    torch.testing.assert_close(model.decode_raw(path.z), path.raw)
    terms, expected = model(batch, epsilon), elbo_terms(model, batch, epsilon)  # one top-down pass, and two
    torch.testing.assert_close(terms.reconstruction, expected.reconstruction)
    torch.testing.assert_close(terms.kl_per_dimension, expected.kl_per_dimension)


def test_the_mean_is_the_draw_without_noise() -> None:
    model, batch = double(ladder(), images(3))
    posterior = model.posterior(batch)
    zero = torch.zeros(3, model.noise_size, dtype=torch.float64)
    torch.testing.assert_close(posterior.mean, posterior.draw(zero))
    torch.testing.assert_close(posterior.mean, posterior.at_mean.mean)


def log_q_by_change_of_variables(posterior: LadderPosterior, epsilon: Tensor) -> Tensor:
    """Log q(u) = log N(ε) − log |∂u/∂ε| of one image's draw, with the whole Jacobian."""
    jacobian = torch.autograd.functional.jacobian(posterior.draw, epsilon[None])[0, :, 0]  # type: ignore[no-untyped-call]
    size = len(epsilon)
    log_normal = -0.5 * (size * math.log(2 * math.pi) + (epsilon**2).sum())
    return log_normal - torch.linalg.slogdet(jacobian)[1]


def test_the_log_density_of_a_draw_is_that_of_the_change_of_variables() -> None:
    model, batch = double(ladder(), images(1))
    posterior = model.posterior(batch)
    epsilon = noise(posterior.noise_size)
    z, log_q, given = posterior.sample(epsilon[None])
    torch.testing.assert_close(log_q[0], log_q_by_change_of_variables(posterior, epsilon))
    torch.testing.assert_close(log_q, given.log_prob(z))  # Σ_l log N(u_l; m_l, s_l²)
    torch.testing.assert_close(log_q, posterior.log_prob_of_draw(epsilon[None]))


def test_finer_levels_depend_on_the_draws_of_coarser_ones_alone() -> None:
    model, batch = double(ladder(), images(1))
    coarse, posterior = model.top_down.latents[0], model.posterior(batch)
    epsilon = noise(1, posterior.noise_size)
    found = posterior.sample(epsilon).given.mean
    changed = epsilon.clone()
    changed[:, coarse:] += 1.0
    torch.testing.assert_close(posterior.sample(changed).given.mean, found, rtol=0, atol=0)
    changed[:, :coarse] += 1.0
    moved = posterior.sample(changed).given.mean != found
    assert not moved[:, :coarse].any()
    assert moved[:, coarse:].double().mean() > 0.9  # a few may see only units that are off


def test_the_closed_kl_is_the_mean_log_ratio() -> None:
    model, batch = double(ladder(), images(1))
    draws = 20_000
    posterior, prior = model.posterior(batch), StandardNormal(model.noise_size)
    with torch.no_grad():
        z, log_q, given = posterior.with_samples().sample(noise(draws, model.noise_size))
        ratio, closed = (log_q - prior.log_prob(z))[0], prior.kl(given)[0]
    error = (ratio - closed).std() / math.sqrt(draws)
    assert abs((ratio - closed).mean()) < 4 * error
    assert closed.std() < ratio.std()  # given the coarser draws, the finer ones add no noise


def test_many_draws_are_those_one_by_one() -> None:
    model, batch = double(ladder(), images(3))
    posterior = model.posterior(batch)
    for epsilon in (noise(5, model.noise_size), noise(3, 5, model.noise_size)):
        many = posterior.with_samples().sample(epsilon)
        for k in range(5):
            one = posterior.sample(epsilon[..., k, :])
            torch.testing.assert_close(many.z[:, k], one.z)
            torch.testing.assert_close(many.log_q[:, k], one.log_q)
            torch.testing.assert_close(many.given.log_variance[:, k], one.given.log_variance)


def test_the_bounds_are_in_order() -> None:
    model, batch = double(ladder(causal=3), images(20))
    epsilon = noise(20, 64, model.noise_size)
    with torch.no_grad():
        weights = importance_log_weights(model, batch, epsilon)
        elbo = torch.stack([model(batch, e).elbo for e in epsilon.unbind(1)], dim=1)
    few, many = log_mean_exp(weights[:, :4]), log_mean_exp(weights)
    assert abs((elbo - weights).mean()) < 4 * (elbo - weights).std() / math.sqrt(weights.numel())
    assert elbo.mean() < few.mean() < many.mean()


@pytest.mark.parametrize("causal", [0, 5])
def test_gradients_are_those_of_differences(causal: int) -> None:
    model, batch = double(ladder(causal=causal), images(2))
    epsilon = noise(2, model.noise_size)
    parameters = [p for p in model.parameters() if p.numel()]
    gradients = torch.autograd.grad(model(batch, epsilon).elbo.sum(), parameters)
    generator = torch.Generator().manual_seed(5)
    direction = [torch.randn(p.shape, generator=generator, dtype=p.dtype) for p in parameters]
    expected = sum(float((g * d).sum()) for g, d in zip(gradients, direction, strict=True))
    values = []
    for step in (1e-6, -2e-6):
        with torch.no_grad():
            for parameter, d in zip(parameters, direction, strict=True):
                parameter.add_(step * d)
            values.append(float(model(batch, epsilon).elbo.sum()))
    assert (values[0] - values[1]) / 2e-6 == pytest.approx(expected, rel=1e-3)
    assert all(gradient.abs().sum() > 0 for gradient in gradients)


def test_extreme_weights_keep_the_posterior_finite() -> None:
    model = ladder()
    with torch.no_grad():
        for parameter in model.bottom_up.parameters():
            parameter.mul_(30.0)
        posterior = model.posterior({"image": torch.full((1, 1, 12, 10), 255, dtype=torch.uint8)})
        assert torch.isfinite(StandardNormal(model.noise_size).kl(posterior.at_mean)).all()


@pytest.mark.parametrize("causal", [0, 5])
def test_its_statistics_come_from_one_top_down_pass(causal: int, monkeypatch: pytest.MonkeyPatch) -> None:
    model = ladder(causal=causal)
    passes: list[str] = []
    path = TopDown.path
    monkeypatch.setattr(TopDown, "path", lambda *given: passes.append("down") or path(*given))
    monkeypatch.setattr(TopDown, "forward", lambda *given: pytest.fail("the image was decoded again"))
    with torch.no_grad():
        found = model.statistics({"image": images(4)})
    assert passes == ["down"]
    for group in model.statistic_groups:
        for value in group.inputs:
            assert len(found[value.name]) == 4
            assert torch.isfinite(found[value.name]).all()


def test_what_the_levels_carry_adds_up() -> None:
    model = ladder()
    with torch.no_grad():
        found = model.statistics({"image": images(4)})
    levels = sum(found[f"log_kl_level_{number}"].exp() - 0.1 for number in (1, 2))
    torch.testing.assert_close(levels, found["kl"], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"widths": (8,), "latent_channels": (1,)}, "widths must be two to six numbers"),
        ({"widths": (8,) * 7, "latent_channels": (1,) * 7}, "widths must be two to six numbers"),
        ({"widths": (8, 1), "latent_channels": (1, 1)}, "widths must be numbers between 2 and 4096"),
        ({"widths": (8, 8), "latent_channels": (1,)}, "latent_channels must be 2 numbers, as many as in widths"),
        ({"widths": (8, 8), "latent_channels": (0, 1)}, "latent_channels must be numbers between 1 and 256"),
        ({"blocks": 0}, "blocks must be between 1 and 64"),
        ({"likelihood": "laplace"}, "likelihood must be one of"),
        ({"causal": 4}, "causal must be 0 or odd"),
        ({"causal_width": 0}, "causal_width must be between 1 and 1024"),
        ({"causal": 5, "likelihood": "logistic-mixture"}, "independent channels where causal is 5"),
    ],
)
def test_its_options_are_checked(options: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        LadderConfig(**options)  # type: ignore[arg-type]
