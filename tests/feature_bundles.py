"""A small trained model of features, its extractor and its bundle, made once and shared by the tests that need one."""

from functools import cache

import numpy as np
import torch

from bundles import HISTORY, pictures
from export.extractors.build import Extractor, open_extractor
from export.graphs.build import Contents, Splits, build
from export.graphs.from_images import FromImages
from export.graphs.options import BuildOptions
from vae_core.config import FILTER_BANK, TrainConfig
from vae_core.models import seeded
from vae_core.models.features.config import FeaturesConfig
from vae_core.models.features.model import FeatureVAE
from vae_core.optimisation import Optimisation, to_device

SHAPE = (3, 40, 32)
DEFECT = 8  # pixels high and wide
_STEPS = 150


@cache
def extractor(backbone: str = FILTER_BANK) -> Extractor:
    """The filter bank, or the backbone in an ONNX file, for images of `SHAPE`."""
    return open_extractor(FeaturesConfig(image_shape=SHAPE, width=24, latent_channels=4, backbone=backbone))


@cache
def whitened(backbone: str = FILTER_BANK) -> bytes:
    """Its graph, whitened over 300 pictures."""
    return extractor(backbone).whitened(pictures(300, SHAPE))


@cache
def trained(backbone: str = FILTER_BANK) -> FeatureVAE:
    """A model after 150 steps on the features of 600 pictures."""
    train = TrainConfig(epochs=1, learning_rate=3e-3, warmup_steps=20, kl_warmup_epochs=0.0, ema_decay=0.95)
    optimisation = Optimisation(to_device(seeded(extractor(backbone).config, 0), "cpu"), train, _STEPS)
    features = FromImages(whitened(backbone)).tensors(pictures(600, SHAPE))["features"]
    generator = torch.Generator().manual_seed(0)
    for _ in range(_STEPS):
        chosen = torch.randint(0, len(features), (32,), generator=generator)
        noise = torch.randn(32, optimisation.model.noise_size, generator=generator)
        optimisation.step({"features": features[chosen]}, noise)
    model = optimisation.average.to(memory_format=torch.contiguous_format).eval()
    assert isinstance(model, FeatureVAE)
    return model


@cache
def contents(backbone: str = FILTER_BANK) -> Contents:
    """The contents of the bundle of `trained`."""
    held = Splits(validation=pictures(200, SHAPE, seed=1), calibration=pictures(199, SHAPE, seed=2))
    history = [{name: value for name, value in each.items() if name != "bits_per_dim"} for each in HISTORY]
    training = {"data": "blobs", "epochs": 3, "history": history}
    return build(trained(backbone), held, training, BuildOptions(samples=4), whitened(backbone))


def with_defects(images: np.ndarray, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """The images, each with a faint checkerboard somewhere, and the rows and columns of their centres, [N, 2]."""
    rng = np.random.default_rng(seed)
    damaged = images.astype(np.int64)
    _, _, height, width = images.shape
    corners = rng.integers(0, (height - DEFECT + 1, width - DEFECT + 1), (len(images), 2))
    for image, (row, column) in zip(damaged, corners, strict=True):
        y, x = np.mgrid[:DEFECT, :DEFECT]
        image[:, row : row + DEFECT, column : column + DEFECT] += 60 * ((x + y) % 2)
    return np.clip(damaged, 0, 255).astype(np.uint8), corners + (DEFECT - 1) / 2
