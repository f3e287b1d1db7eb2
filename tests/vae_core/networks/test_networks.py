import pytest
import torch

from vae_core.latents import StandardNormal
from vae_core.models import seeded
from vae_core.models.conv.config import ConvConfig
from vae_core.models.conv.model import ConvVAE
from vae_core.networks.convolutional import level_sizes


def small(shape: tuple[int, int, int], **options: object) -> ConvVAE:
    config = ConvConfig(image_shape=shape, latent_dim=4, widths=(8, 8, 8), hidden=16, **options)  # type: ignore[arg-type]
    model = seeded(config, 0)
    assert isinstance(model, ConvVAE)
    return model.eval()


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("size", [(8, 8), (9, 31), (28, 28), (33, 64), (8, 256), (255, 17)])
def test_any_size_and_channel_count(channels: int, size: tuple[int, int]) -> None:
    model = small((channels, *size))
    image = torch.randint(0, 256, (2, channels, *size), dtype=torch.uint8)
    terms = model({"image": image}, torch.randn(2, 4))
    assert terms.reconstruction.shape == (2,)
    assert terms.kl_per_dimension.shape == (2, 4)
    assert torch.isfinite(terms.elbo).all()
    assert model.mean_image(torch.zeros(3, 4)).shape == (3, channels, *size)


def test_the_likelihood_counts_real_pixels_only() -> None:
    model = small((1, 9, 9))  # padded to 10, 6 and 4 inside
    image = torch.zeros(1, 1, 9, 9)
    per_pixel = model.likelihood.log_prob(image, model.decode(torch.zeros(1, 4)))
    assert per_pixel.shape == (1, 1, 9, 9)
    torch.testing.assert_close(model.log_px_z({"image": image}, torch.zeros(1, 4)), per_pixel.sum((1, 2, 3)))


def test_no_layer_mixes_images() -> None:
    model = small((3, 16, 16)).double()
    image = torch.rand(4, 3, 16, 16).double() * 255
    z = model.posterior({"image": image}).mean
    image.requires_grad_()
    (gradient,) = torch.autograd.grad(
        model.log_px_z({"image": image}, z)[1] + StandardNormal(4).kl(model.posterior({"image": image}))[1], image
    )
    assert gradient[1].abs().sum() > 0
    assert gradient[[0, 2, 3]].abs().sum() == 0


def test_a_pixel_anywhere_reaches_the_latent_variables() -> None:
    model = small((1, 13, 11)).double()
    image = torch.full((1, 1, 13, 11), 100.0, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(model.posterior({"image": image}).mean.abs().sum(), image)
    assert (gradient != 0).all()


def test_extreme_weights_keep_the_posterior_finite() -> None:
    model = small((1, 16, 16))
    with torch.no_grad():
        for parameter in model.encoder.parameters():
            parameter.mul_(100.0)
    posterior = model.posterior({"image": torch.full((1, 1, 16, 16), 255, dtype=torch.uint8)})
    assert torch.isfinite(StandardNormal(4).kl(posterior)).all()


def test_every_level_halves_the_sides_and_rounds_up() -> None:
    assert level_sizes(28, 9, 3) == [(28, 9), (14, 5), (7, 3), (4, 2)]


@pytest.mark.parametrize("upsampling", ["transposed", "nearest", "pixel-shuffle"])
def test_every_upsampling_brings_a_latent_vector_to_every_pixel(upsampling: str) -> None:
    model = small((2, 13, 11), upsampling=upsampling).double()
    z = torch.ones(1, 4, dtype=torch.float64, requires_grad=True)
    parameters = model.decode(z)
    for values in parameters.values():
        assert values.shape == (1, 2, 13, 11)
        for row, column in ((0, 0), (12, 10), (6, 5)):
            (gradient,) = torch.autograd.grad(values[..., row, column].sum(), z, retain_graph=True)
            assert gradient.abs().sum() > 0


def test_the_seed_alone_decides_the_initial_weights() -> None:
    torch.manual_seed(5)
    first = small((1, 8, 8))
    torch.manual_seed(6)
    second = small((1, 8, 8))
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
