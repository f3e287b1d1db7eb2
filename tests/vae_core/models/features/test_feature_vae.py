"""The VAE of feature maps: its density against torch's, its bounds against quadrature, and images apart."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from vae_core.batch import Batch
from vae_core.elbo import elbo_terms
from vae_core.errors import UserError
from vae_core.estimators import importance_log_weights, log_mean_exp
from vae_core.latents.diagonal_gaussian import LOG_2PI
from vae_core.models import seeded
from vae_core.models.features.config import FeaturesConfig
from vae_core.models.features.model import FeatureVAE, distance, log_prob
from vae_core.outliers.groups import statistics_of

CONFIG = FeaturesConfig(image_shape=(1, 40, 24), maps=(5, 10, 6), latent_channels=3, width=8)


def vae(maps: tuple[int, int, int] = (5, 10, 6), gain: float = 1.0, **options: int) -> FeatureVAE:
    """A model in float64 with random weights, those of its last layers `gain` times as large."""
    model = seeded(replace(CONFIG, maps=maps, **options), 0)
    assert isinstance(model, FeatureVAE)
    with torch.no_grad():
        for layer in (model.encoder[-1], model.decoder[-1]):
            layer.weight.mul_(gain)
    return model.double().eval()


def batch_of(maps: Tensor) -> Batch:
    """Feature maps, and their means and spreads over the image, which some statistics are of."""
    spreads = (maps.var((2, 3), correction=0) + 0.01).log()
    return {"features": maps, "appearance": torch.cat([maps.mean((2, 3)), spreads], 1)}


def features(count: int, maps: tuple[int, int, int] = (5, 10, 6)) -> Batch:
    generator = torch.Generator().manual_seed(1)
    return batch_of(torch.randn(count, *maps, generator=generator, dtype=torch.float64))


def noise(*shape: int, seed: int = 7) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_log_prob_is_that_of_a_normal() -> None:
    model, batch = vae(gain=10), features(4)
    z = noise(4, model.noise_size)
    parameters = model.decode(z)
    location, scale = parameters["location"], parameters["log_scale"].exp()
    assert (scale.amin(), scale.amax()) != (1, 1)
    expected = torch.distributions.Normal(location, scale).log_prob(batch["features"])
    torch.testing.assert_close(log_prob(batch["features"], parameters), expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(model.log_px_z(batch, z), expected.sum((1, 2, 3)), rtol=1e-12, atol=0)


def test_the_distance_is_from_the_likeliest_features() -> None:
    model, batch = vae(gain=10), features(4)
    parameters = model.decode(noise(4, model.noise_size))
    peak = log_prob(parameters["location"], parameters)
    torch.testing.assert_close(peak, -0.5 * LOG_2PI - parameters["log_scale"], rtol=0, atol=1e-12)
    found = distance(batch["features"], parameters)
    torch.testing.assert_close(found, peak - log_prob(batch["features"], parameters), rtol=1e-9, atol=1e-12)
    assert (found >= 0).all()
    assert (distance(parameters["location"], parameters) == 0).all()


@pytest.mark.parametrize("size", [(1, 1), (1, 16), (3, 5), (4, 8), (10, 6), (13, 16), (16, 16)])
def test_any_grid(size: tuple[int, int]) -> None:
    model = vae((5, *size))
    batch = features(2, (5, *size))
    rows, columns = model.latent_shape[1:]
    assert model.latent_shape[0] == 3
    assert 0 <= 4 * rows - size[0] < 4
    assert 0 <= 4 * columns - size[1] < 4
    posterior = model.posterior(batch)
    assert posterior.mean.shape == posterior.log_variance.shape == (2, model.noise_size)
    decoded = model.decode(posterior.mean)
    assert {name: value.shape for name, value in decoded.items()} == dict.fromkeys(
        (output.name for output in model.decoder_outputs), (2, 5, *size)
    )
    assert torch.isfinite(model(batch, noise(2, model.noise_size)).elbo).all()


def test_a_place_anywhere_reaches_the_code_and_is_reached_by_it() -> None:
    model = vae((2, 7, 5))
    maps = features(1, (2, 7, 5))["features"].requires_grad_()
    (gradient,) = torch.autograd.grad(model.posterior({"features": maps}).mean.abs().sum(), maps)
    assert (gradient != 0).all()
    z = noise(1, model.noise_size).requires_grad_()
    decoded = torch.cat(list(model.decode(z).values()), 1).flatten(2).abs().sum((0, 1))
    for place in decoded:
        (gradient,) = torch.autograd.grad(place, z, retain_graph=True)
        assert gradient.abs().sum() > 0


def test_bounds_are_ordered_below_the_exact_value() -> None:
    # One latent variable: log p(f) = log ∫ p(f|z) N(z; 0, 1) dz is a sum over a fine grid.
    model = vae((2, 3, 2), gain=10, latent_channels=1)
    with torch.no_grad():
        model.encoder[-1].bias[0] += 1  # away from the true posterior
    batch = features(4, (2, 3, 2))
    assert model.noise_size == 1
    grid = torch.linspace(-9, 9, 3001, dtype=torch.float64)[:, None]
    with torch.no_grad():
        prior = torch.distributions.Normal(0.0, 1.0).log_prob(grid[:, 0])
        each = [{"features": one.expand(len(grid), -1, -1, -1)} for one in batch["features"]]
        joint = torch.stack([model.log_px_z(one, grid) + prior for one in each])
        exact = torch.logsumexp(joint, 1) + torch.log(grid[1, 0] - grid[0, 0])
        repeated = {"features": batch["features"].repeat(1000, 1, 1, 1)}
        draws = [elbo_terms(model, repeated, noise(4_000, 1)).elbo]
        for samples in (2, 8, 32):
            draws.append(log_mean_exp(importance_log_weights(model, repeated, noise(4_000, samples, 1))))
    levels = torch.stack(draws).reshape(4, 1000, 4)
    means, errors = levels.mean(1), levels.std(1) / 1000**0.5
    for lower, upper, error in zip(means, means[1:], errors[:-1] + errors[1:], strict=False):
        assert (upper - lower > -3 * error).all()
    assert (means[1] > means[0] + 3 * errors[0]).all()  # strictly tighter: q is not the true posterior
    assert (means[-1] < exact + 4 * errors[-1]).all()
    assert (exact - means[0] > 0.5).all()
    assert (exact - means[-1] < 0.5 * (exact - means[0])).all()


def parts(count: int, size: int) -> Iterator[slice]:
    return (slice(start, start + size) for start in range(0, count, size))


@pytest.mark.parametrize("size", [1, 3])
def test_outputs_of_an_image_do_not_depend_on_its_batch(size: int) -> None:
    model, batch = vae(), features(7)
    epsilon = noise(7, model.noise_size)
    names = {value.name for group in model.statistic_groups for value in group.inputs}

    def outputs(part: slice) -> dict[str, Tensor]:
        chosen = {name: values[part] for name, values in batch.items()}
        terms = model(chosen, epsilon[part])
        found = {name: value for name, value in terms._asdict().items() if value is not None}  # classes: none
        return {**found, **model.statistics(chosen), **model.explained(chosen)}

    with torch.no_grad():
        together = outputs(slice(0, 7))
        assert names <= together.keys()
        separate = [outputs(part) for part in parts(7, size)]
    for name, value in together.items():
        assert torch.isfinite(value).all(), name
        joined = torch.cat([each[name] for each in separate])
        torch.testing.assert_close(joined, value, rtol=1e-10, atol=1e-10, msg=name)


def test_gradients_of_two_half_batches_average_to_that_of_the_whole() -> None:
    model, batch = vae(), features(6)
    epsilon = noise(6, model.noise_size)

    def gradient(part: slice) -> Tensor:
        terms = model({"features": batch["features"][part]}, epsilon[part])
        found = torch.autograd.grad(terms.elbo.mean(), list(model.parameters()))
        return torch.cat([each.flatten() for each in found])

    whole = gradient(slice(0, 6))
    halves = torch.stack([gradient(part) for part in parts(6, 3)])
    assert whole.norm() > 0
    torch.testing.assert_close(halves.mean(0), whole, rtol=1e-9, atol=1e-9)
    assert (halves[0] - halves[1]).norm() > 0.1 * whole.norm()


def test_samples_in_one_decode_equal_samples_one_by_one() -> None:
    model, batch = vae(), features(3)
    z = noise(3, 4, model.noise_size)
    expected = torch.stack([model.log_px_z(batch, each) for each in z.unbind(1)], 1)
    torch.testing.assert_close(model.log_px_z_of_samples(batch, z), expected, rtol=1e-10, atol=0)


def test_the_statistics_are_those_of_the_groups() -> None:
    model, batch = vae(), features(5)
    found = model.statistics(batch)
    for group in model.statistic_groups:
        for value in group.inputs:
            assert len(found[value.name]) == 5
            if group.vector is None:
                assert found[value.name].shape == (5,)
    assert len({each.name for each in statistics_of(model.statistic_groups)}) == len(
        statistics_of(model.statistic_groups)
    )


def test_the_surprise_of_unlikely_features_lies_where_they_are() -> None:
    model = vae((5, 10, 6), image_shape=(1, 40, 24))  # type: ignore[arg-type]
    batch = features(1)
    maps = batch["features"].clone()
    maps[0, :, 7, 1] += 20
    with torch.no_grad():
        found = model.explained({"features": maps})["surprise"][0]
    assert found.shape == (40, 24)
    assert (found >= 0).all()
    row, column = divmod(int(found.argmax()), 24)
    assert abs(row - 4 * 7.5) <= 6  # within the 3×3 places around the place, of 4×4 pixels
    assert abs(column - 4 * 1.5) <= 6


def test_extreme_features_and_weights_stay_finite() -> None:
    model = vae(gain=100).float()
    maps = torch.stack([F.pad(torch.full((5, 4, 2), level), (2, 2, 3, 3)) for level in (-500.0, 0.0, 500.0)])
    with torch.no_grad():
        posterior = model.posterior({"features": maps})
        assert posterior.log_variance.abs().max() <= 8
        assert model.decode(posterior.mean)["log_scale"].abs().max() <= 3
        for name, value in model.statistics(batch_of(maps)).items():
            assert torch.isfinite(value).all(), name


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"latent_channels": 0}, "latent_channels must be between 1 and 256, got 0"),
        ({"width": 5000}, "width must be between 1 and 4096, got 5000"),
        ({"maps": (0, 4, 4)}, r"maps must be three numbers between 1 and 4096, or 0 0 0, got \(0, 4, 4\)"),
        ({"backbone": ""}, "backbone must be filter-bank, an ONNX file or torchvision:NAME, got ''"),
        ({"image_shape": (5, 16, 16)}, "image_shape must be 1 to 4 channels first"),
    ],
)
def test_invalid_configurations_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        replace(CONFIG, **options)  # type: ignore[arg-type]
