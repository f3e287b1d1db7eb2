"""The importance-weighted objective: its value and its gradient."""

import pytest
import torch
from torch import Tensor

from vae_core.batch import Batch
from vae_core.config import TrainConfig
from vae_core.elbo import ElboTerms
from vae_core.errors import UserError
from vae_core.estimators import ImportanceTerms, importance_objective, importance_terms
from vae_core.models import base, seeded
from vae_core.models.base import Model
from vae_core.models.conv.config import ConvConfig
from vae_core.models.features.config import FeaturesConfig
from vae_core.models.ladder.config import LadderConfig
from vae_core.optimisation import Optimisation, to_device
from vae_core_oracle import LinearGaussian

CONFIGS = [
    ConvConfig(image_shape=(1, 12, 12), latent_dim=4, widths=(4, 8), hidden=8),
    ConvConfig(image_shape=(1, 12, 12), latent_dim=4, widths=(4, 8), hidden=8, causal=3),
    LadderConfig(image_shape=(1, 12, 12), widths=(4, 8), latent_channels=(1, 2)),
    FeaturesConfig(image_shape=(1, 16, 16), maps=(3, 4, 4), latent_channels=1, width=4),
]
K = 3


def inputs(model: Model, images: int = 4) -> tuple[Batch, Tensor]:
    generator = torch.Generator().manual_seed(1)
    if isinstance(model.config, FeaturesConfig):
        values = {"features": torch.randn(images, *model.config.maps, generator=generator, dtype=torch.float64)}
    else:
        shape = (images, *model.config.image_shape)
        values = {"image": torch.randint(0, 256, shape, generator=generator).double()}
    return values, torch.randn(images, K, model.noise_size, generator=generator, dtype=torch.float64)


def objective_of(model: Model, beta: float = 0.7) -> Tensor:
    terms = model(*inputs(model))
    assert isinstance(terms, ImportanceTerms)
    return importance_objective(terms, beta)


def gradient(model: Model) -> list[Tensor]:
    return list(torch.autograd.grad(objective_of(model).sum(), list(model.parameters())))


def test_with_one_sample_it_is_the_elbo_in_expectation() -> None:
    model = LinearGaussian(mean_error=0.3, log_scale_error=0.2)
    image = model.draw(4)
    generator = torch.Generator().manual_seed(7)
    noise = torch.randn(20_000, 4, 1, 3, generator=generator, dtype=torch.float64)
    batch = {"image": image.repeat(20_000, 1)}
    terms = importance_terms(model, batch, noise.flatten(0, 1))
    found = importance_objective(terms, 1.0).reshape(20_000, 4)
    # log p(x) − KL(q ‖ p(z|x)), a closed form: see test_oracle.
    variance = LinearGaussian().posterior({"image": image}).log_variance.exp()
    ratio = torch.tensor(0.4, dtype=torch.float64).exp()
    elbo = model.log_px(image) - 0.5 * (ratio + 0.3**2 / variance - 1 - ratio.log()).sum(-1)
    error = found.std(0) / 20_000**0.5
    assert ((found.mean(0) - elbo).abs() < 4.5 * error).all()
    torch.testing.assert_close(terms.elbo, found.flatten())
    # The terms that are reported are those of the ELBO.
    kl = model.prior(batch).kl(model.posterior({"image": image}))
    sampled = terms.kl.reshape(20_000, 4)
    assert ((sampled.mean(0) - kl).abs() < 4.5 * sampled.std(0) / 20_000**0.5).all()


def test_it_is_log_px_at_the_true_posterior_and_beta_weighs_the_ratio() -> None:
    model = LinearGaussian()
    image = model.draw(5)
    noise = torch.randn(5, K, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    terms = importance_terms(model, {"image": image}, noise)
    torch.testing.assert_close(importance_objective(terms, 1.0), model.log_px(image), rtol=0, atol=1e-10)
    expected = torch.log((terms.log_px_z.exp() * torch.exp(0.3 * terms.log_ratio)).mean(1))
    torch.testing.assert_close(importance_objective(terms, 0.3), expected)


@pytest.mark.parametrize("config", CONFIGS)
def test_it_weighs_what_the_model_draws(config: ConvConfig | LadderConfig | FeaturesConfig) -> None:
    model = seeded(config, 0).double().eval()
    batch, noise = inputs(model)
    terms = model(batch, noise)
    posterior, prior = model.posterior(batch), model.prior(batch)
    for k in range(K):
        z, log_q, _ = posterior.sample(noise[:, k])
        torch.testing.assert_close(terms.log_px_z[:, k], model.log_px_z(batch, z))
        torch.testing.assert_close(terms.log_ratio[:, k], prior.log_prob(z) - log_q)


@pytest.mark.parametrize("config", CONFIGS)
def test_its_gradient_is_that_of_finite_differences(config: ConvConfig | LadderConfig | FeaturesConfig) -> None:
    model = seeded(config, 0).double().eval()
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for p in model.parameters():  # biases of zero may leave a ReLU at its kink
            p += 0.01 * torch.randn(p.shape, generator=generator, dtype=p.dtype)
    direction = [torch.randn(p.shape, generator=generator, dtype=p.dtype) for p in model.parameters()]
    expected = sum((g * d).sum() for g, d in zip(gradient(model), direction, strict=True))
    step, values = 1e-8, list[Tensor]()  # small, as it must cross no kink of a ReLU
    with torch.no_grad():
        for sign in (1, -2):  # to +h, then on to −h
            for p, d in zip(model.parameters(), direction, strict=True):
                p += sign * step * d
            values.append(objective_of(model).sum())
    torch.testing.assert_close((values[0] - values[1]) / (2 * step), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("config", CONFIGS)
def test_decoding_again_changes_no_gradient(
    config: ConvConfig | LadderConfig | FeaturesConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = seeded(config, 0).double().train()
    kept = gradient(model)
    monkeypatch.setattr(base, "_VALUES_KEPT", 0)
    decodes, sample = 0, type(model).sample_posterior

    def counted(*arguments: object) -> object:
        nonlocal decodes
        decodes += 1
        return sample(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(type(model), "sample_posterior", counted)
    for found, expected in zip(gradient(model), kept, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-14)
    assert decodes == 2 * K


def test_a_batchs_gradient_is_the_mean_of_its_halves() -> None:
    gradients = []
    for part in (slice(0, 4), slice(0, 2), slice(2, 4)):
        training = Optimisation(to_device(seeded(CONFIGS[0], 0), "cpu"), TrainConfig(iwae_samples=K), 20)
        training.model.double()
        batch, noise = inputs(training.model)
        loss, terms = training.loss({"image": batch["image"][part]}, noise[part])
        assert not isinstance(terms, ElboTerms)
        loss.backward()  # type: ignore[no-untyped-call]
        gradients.append([p.grad for p in training.model.parameters()])
    for whole, first, second in zip(*gradients, strict=True):
        torch.testing.assert_close(whole, (first + second) / 2, rtol=1e-10, atol=1e-13)


def test_free_bits_are_refused() -> None:
    with pytest.raises(UserError, match=r"free_bits must be 0 where iwae_samples is above 1, .*, got 0\.1"):
        TrainConfig(iwae_samples=2, free_bits=0.1)
    with pytest.raises(UserError, match="iwae_samples must be at least 1, got 0"):
        TrainConfig(iwae_samples=0)
    assert TrainConfig(iwae_samples=1, free_bits=0.1).selected_by == "validation_elbo"
    assert TrainConfig(iwae_samples=2).selected_by == "validation_iwae"
