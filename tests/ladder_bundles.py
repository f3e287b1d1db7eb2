"""Small trained ladders and the contents of their bundles, made once and shared by the tests that need one."""

from functools import cache

import torch

from bundles import HISTORY, SHAPE, pictures
from export.graphs.build import Contents, Splits, build
from export.graphs.options import BuildOptions
from vae_core.config import TrainConfig
from vae_core.models import seeded
from vae_core.models.ladder.config import LadderConfig
from vae_core.models.ladder.model import LadderVAE
from vae_core.optimisation import Optimisation, to_device

_STEPS = 200


@cache
def trained(causal: int) -> LadderVAE:
    """A ladder of two levels after two hundred steps."""
    config = LadderConfig(image_shape=SHAPE, widths=(8, 16), latent_channels=(1, 2), causal=causal)
    train = TrainConfig(epochs=1, learning_rate=3e-3, warmup_steps=20, kl_warmup_epochs=0.0, ema_decay=0.95)
    optimisation = Optimisation(to_device(seeded(config, 0), "cpu"), train, _STEPS)
    images = torch.from_numpy(pictures(32 * _STEPS))
    generator = torch.Generator().manual_seed(0)
    for step in range(_STEPS):
        noise = torch.randn(32, optimisation.model.noise_size, generator=generator)
        optimisation.step({"image": images[32 * step : 32 * step + 32]}, noise)
    model = optimisation.average.to(memory_format=torch.contiguous_format).eval()
    assert isinstance(model, LadderVAE)
    return model


@cache
def contents(causal: int) -> Contents:
    """The contents of the bundle of `trained`."""
    held = Splits(validation=pictures(400, seed=1), calibration=pictures(399, seed=2))
    return build(trained(causal), held, {"data": "blobs", "epochs": 3, "history": HISTORY}, BuildOptions(samples=8))
