"""Small trained models and their bundles, made in seconds and shared by the tests that need one."""

from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from export.graphs.build import Contents, Splits, build
from export.graphs.fit import fit_codes
from export.graphs.options import BuildOptions
from vae_core.config import TrainConfig
from vae_core.latents import GaussianMixture
from vae_core.likelihoods import LikelihoodName
from vae_core.models import seeded
from vae_core.models.conv.config import ConvConfig
from vae_core.models.conv.model import ConvVAE
from vae_core.optimisation import Optimisation, to_device

SHAPE = (1, 20, 16)
BUNDLE = BuildOptions(samples=8)
HISTORY: list[dict[str, Any]] = [
    {
        "epoch": epoch,
        "elbo": -2000.0 + 100 * epoch,
        "reconstruction": -1990.0 + 100 * epoch,
        "kl": 10.0,
        "validation_elbo": -2010.0 + 100 * epoch,
        "validation_reconstruction": -2000.0 + 100 * epoch,
        "validation_kl": 10.0,
        "validation_iwae": -2005.0 + 100 * epoch,
        "bits_per_dim": 5.0,
        "active_units": 5,
        "images_per_second": 1000.0,
    }
    for epoch in (1, 2, 3)
]


def pictures(count: int, shape: tuple[int, int, int] = SHAPE, seed: int = 0) -> npt.NDArray[np.uint8]:
    """Images with learnable structure: soft blobs of random position, size and brightness on a dark background."""
    rng = np.random.default_rng(seed)
    channels, height, width = shape
    y, x = np.mgrid[0:height, 0:width]
    centre_y, centre_x = (rng.uniform(0.25, 0.75, (2, count)) * [[height], [width]])[:, :, None, None]
    radius = rng.uniform(0.1, 0.3, count)[:, None, None] * min(height, width)
    blob = np.exp(-((y - centre_y) ** 2 + (x - centre_x) ** 2) / (2 * radius**2))  # (N, H, W)
    colour = rng.uniform(80, 255, (count, channels, 1, 1))
    noise = rng.normal(0, 3, (count, channels, height, width))
    return np.clip(blob[:, None] * colour + noise, 0, 255).astype(np.uint8)


TRAINING = {"data": "blobs", "epochs": 3, "history": HISTORY}


@cache
def trained(
    likelihood: LikelihoodName = "discretised-logistic", shape: tuple[int, int, int] = SHAPE, causal: int = 0
) -> ConvVAE:
    """A model after four hundred steps: enough to reconstruct the blobs."""
    options = {"latent_dim": 6, "widths": (8, 16), "hidden": 32, "likelihood": likelihood, "causal": causal}
    config = ConvConfig(image_shape=shape, **options)  # type: ignore[arg-type]
    steps = 400
    train = TrainConfig(epochs=1, learning_rate=3e-3, warmup_steps=20, kl_warmup_epochs=0.0, ema_decay=0.95)
    optimisation = Optimisation(to_device(seeded(config, 0), "cpu"), train, steps)
    images = torch.from_numpy(pictures(32 * steps, shape))
    generator = torch.Generator().manual_seed(0)
    for step in range(steps):
        optimisation.step({"image": images[32 * step : 32 * step + 32]}, torch.randn(32, 6, generator=generator))
    model = optimisation.average.to(memory_format=torch.contiguous_format).eval()
    assert isinstance(model, ConvVAE)
    return model


def described(model: ConvVAE, images: npt.NDArray[np.uint8]) -> dict[str, npt.NDArray[np.float32]]:
    """The inputs of the model's groups of statistics, to which an outlier score is fitted."""
    with torch.inference_mode():
        values = model.statistics({"image": torch.from_numpy(images)})
    return {name: value.numpy() for name, value in values.items()}


def codes(model: ConvVAE) -> GaussianMixture:
    """The mixture over the codes of 300 pictures."""
    with torch.inference_mode():
        shape = model.config.image_shape
        posterior = model.posterior({"image": torch.from_numpy(pictures(300, shape, seed=4))})
        noise = torch.randn(300, model.noise_size, generator=torch.Generator().manual_seed(0))
        return fit_codes(posterior.draw(noise).numpy())


@cache
def contents(
    likelihood: LikelihoodName = "discretised-logistic",
    shape: tuple[int, int, int] = SHAPE,
    options: BuildOptions = BUNDLE,
) -> Contents:
    """The contents of the bundle of `trained`."""
    held = Splits(validation=pictures(400, shape, seed=1), calibration=pictures(399, shape, seed=2))
    return build(trained(likelihood, shape), held, TRAINING, options)
