"""A small training state and its batches, for tests of checkpoints and of data-parallel training."""

from dataclasses import replace

import torch
from torch import Tensor

from vae_core.batch import Batch
from vae_core.config import Optimiser, TrainConfig
from vae_core.models import seeded
from vae_core.models.conv.config import ConvConfig
from vae_core.optimisation import Optimisation, to_device

MODEL = ConvConfig(image_shape=(1, 12, 12), latent_dim=4, widths=(8, 8), hidden=16)


def optimisation(seed: int = 0, latent_dim: int = 4, optimiser: Optimiser = "adamw") -> Optimisation:
    model = to_device(seeded(replace(MODEL, latent_dim=latent_dim), seed), "cpu")
    return Optimisation(model, TrainConfig(epochs=2, warmup_steps=2, optimiser=optimiser), steps_per_epoch=10)


def batch(step: int, size: int = 8, samples: int = 1) -> tuple[Batch, Tensor]:
    generator = torch.Generator().manual_seed(step)
    image = torch.randint(0, 256, (size, 1, 12, 12), generator=generator, dtype=torch.uint8)
    shape = (size, 4) if samples == 1 else (size, samples, 4)
    return {"image": image}, torch.randn(shape, generator=generator)
