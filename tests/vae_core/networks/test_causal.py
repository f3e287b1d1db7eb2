import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vae_core.errors import UserError
from vae_core.models import seeded
from vae_core.models.conv.config import ConvConfig
from vae_core.models.conv.model import ConvVAE
from vae_core.networks.causal import CausalLayer, Window


def model(shape: tuple[int, int, int], **options: object) -> ConvVAE:
    """Small, with weights large enough that the layer changes everything that it may."""
    config = ConvConfig(image_shape=shape, latent_dim=3, widths=(4,), hidden=0, **options)  # type: ignore[arg-type]
    found = seeded(config, 0)
    assert isinstance(found, ConvVAE)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in found.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=generator)
    return found.double().eval()


def layer_of(network: ConvVAE) -> CausalLayer:
    assert network.causal is not None
    return network.causal


@pytest.mark.parametrize("likelihood", ["discretised-logistic", "gaussian", "bernoulli", "continuous-bernoulli"])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_pixel_depends_on_the_pixels_before_it_alone(likelihood: str, channels: int) -> None:
    network = model((channels, 8, 9), causal=5, likelihood=likelihood)
    generator = torch.Generator().manual_seed(2)
    image = torch.randint(0, 256, (1, channels, 8, 9), generator=generator).double()
    z = torch.randn(1, 3, generator=generator).double()
    whole = network.decode_given(image, z)
    for place in range(0, 72, 5):
        row, column = divmod(place, 9)
        changed = image.flatten(2).clone()
        changed[:, :, place:] = 255 - changed[:, :, place:]  # the pixel itself and all after it
        found = network.decode_given(changed.reshape(image.shape), z)
        for name, value in whole.items():
            assert torch.equal(value[..., row, column], found[name][..., row, column])
    # … and does depend on those in its window.
    changed = image.clone()
    changed[..., 2, 2] = 255 - changed[..., 2, 2]
    name = next(iter(whole))
    moved = (network.decode_given(changed, z)[name] != whole[name])[0, 0]
    expected = torch.zeros(8, 9, dtype=torch.bool)
    expected[2, 3:5], expected[3:5, :5] = True, True
    assert torch.equal(moved, expected)


@settings(max_examples=20, deadline=None)
@given(side=st.sampled_from([3, 5, 7]), height=st.integers(8, 10), width=st.integers(8, 10), seed=st.integers(0, 99))
def test_one_pixel_at_a_time_equals_all_at_once(side: int, height: int, width: int, seed: int) -> None:
    network = model((1, height, width), causal=side)
    layer, generator = layer_of(network), torch.Generator().manual_seed(seed)
    image = torch.randint(0, 256, (2, 1, height, width), generator=generator).double()
    raw = network.decode_raw(torch.randn(2, 3, generator=generator).double())
    whole = layer(image, raw)
    margin = (side // 2, side // 2, side // 2, 0)
    padded = [torch.nn.functional.pad(value, margin) for value in (image, raw, torch.ones_like(image))]
    for row in range(height):
        for column in range(width):
            window = Window(*(value[:, :, row : row + side // 2 + 1, column : column + side] for value in padded))
            torch.testing.assert_close(layer.of_pixel(window)[..., 0, 0], whole[..., row, column])


def test_the_likelihood_sums_to_one() -> None:
    network = model((1, 8, 8), causal=3)
    layer, family = layer_of(network), network.likelihood
    raw = network.decode_raw(torch.randn(1, 3, generator=torch.Generator().manual_seed(3)).double())[:, :, :1, :2]
    levels = torch.arange(256.0, dtype=torch.float64)
    pairs = torch.cartesian_prod(levels, levels).reshape(-1, 1, 1, 2)  # all images of two pixels
    log_p = family.log_prob(pairs, family.constrain(layer(pairs, raw.expand(len(pairs), -1, -1, -1)))).sum((1, 2, 3))
    assert torch.logsumexp(log_p, 0).item() == pytest.approx(0.0, abs=1e-9)


def test_the_estimators_and_the_elbo_see_the_same_likelihood() -> None:
    network = model((1, 8, 8), causal=7)
    generator = torch.Generator().manual_seed(4)
    batch = {"image": torch.randint(0, 256, (3, 1, 8, 8), generator=generator).double()}
    z = torch.randn(3, 2, 3, generator=generator).double()
    each = torch.stack([network.log_px_z(batch, z[:, k]) for k in range(2)], 1)
    torch.testing.assert_close(network.log_px_z_of_samples(batch, z), each)
    given = network.decode_given(batch["image"], z[:, 0])
    summed = network.likelihood.log_prob(batch["image"], given).sum((1, 2, 3))
    torch.testing.assert_close(summed, each[:, 0])


def test_without_the_layer_nothing_changes() -> None:
    network = model((1, 8, 8))
    assert network.causal is None
    image, z = torch.zeros(1, 1, 8, 8).double(), torch.zeros(1, 3).double()
    for name, value in network.decode(z).items():
        assert torch.equal(network.decode_given(image, z)[name], value)


def test_gradients_equal_differences() -> None:
    network = model((1, 8, 8), causal=3)
    batch = {"image": torch.randint(0, 256, (2, 1, 8, 8), generator=torch.Generator().manual_seed(5)).double()}
    z = torch.randn(2, 3, generator=torch.Generator().manual_seed(6)).double().requires_grad_()
    (gradient,) = torch.autograd.grad(network.log_px_z(batch, z).sum(), z)
    step = 1e-6 * torch.from_numpy(np.eye(3))
    with torch.no_grad():
        moved = [(network.log_px_z(batch, z + d) - network.log_px_z(batch, z - d)) / 2e-6 for d in step]
    torch.testing.assert_close(gradient, torch.stack(moved, 1), rtol=1e-5, atol=1e-4)


def test_the_decoder_alone_is_trained_along_and_the_value_stays_the_elbos() -> None:
    network = model((1, 8, 8), causal=3)
    batch = {"image": torch.randint(0, 256, (2, 1, 8, 8), generator=torch.Generator().manual_seed(7)).double()}
    z = torch.randn(2, 3, generator=torch.Generator().manual_seed(8)).double()
    weights = [each for name, each in network.named_parameters() if name.startswith("decoder.")]

    def gradient(value: torch.Tensor) -> torch.Tensor:
        return torch.cat([each.flatten() for each in torch.autograd.grad(value.sum(), weights)])

    evaluated, trained = network.log_px_z(batch, z), network.train().log_px_z(batch, z)
    torch.testing.assert_close(trained, evaluated)
    alone = network.likelihood.log_prob(batch["image"], network.decode(z)).sum((1, 2, 3))
    torch.testing.assert_close(gradient(trained), gradient(evaluated) + 0.1 * gradient(alone))


@pytest.mark.parametrize("value", [1, 2, 4, 17, -3])
def test_the_side_is_odd(value: int) -> None:
    with pytest.raises(UserError, match="causal must be 0 or odd, from 3 to 15"):
        ConvConfig(image_shape=(1, 28, 28), causal=value)


def test_a_joint_likelihood_of_channels_is_refused() -> None:
    with pytest.raises(UserError, match="likelihood must be a likelihood of independent channels"):
        ConvConfig(image_shape=(3, 28, 28), causal=7, likelihood="logistic-mixture")
