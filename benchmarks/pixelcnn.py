"""A PixelCNN without latent variables beside a model with a causal layer: bits per dimension of the same test images.

    python -m benchmarks.pixelcnn --run RUN --train TRAIN… --images TEST… --width 28 --blocks 4

The fair neighbour of a decoder with a causal layer is a model that is autoregressive alone (van den Oord et al. 2016):
a masked 7×7 convolution, residual blocks of 1×1, masked 3×3 and 1×1 convolutions, and two 1×1 convolutions to the
parameters of the same likelihood. It is trained on the training images of the run, by the project's own optimisation,
and scored with its averaged weights. Everything happens at full resolution, so that for the same number of weights it
computes a hundred times as much: --width and --blocks choose what is to be equal.
"""

import time
from dataclasses import dataclass
from types import SimpleNamespace
from typing import cast

import numpy as np
import torch
import tyro
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.results import save
from export.images.contract import ImageContract
from jobs.images.reader import read_images
from jobs.images.source import find_images
from jobs.train.run_directory import Run
from jobs.train.splits import held_rows
from vae_core.batch import IMAGE, Batch
from vae_core.config import TrainConfig
from vae_core.elbo import ElboTerms
from vae_core.likelihoods import likelihood
from vae_core.models.base import Model
from vae_core.models.pixels import as_levels
from vae_core.networks.convolutional import full_precision
from vae_core.optimisation import Optimisation, to_device
from vae_core.sums import sum_pixels

_LIKELIHOOD = "discretised-logistic"
_BATCH = 128
_TESTED_AT_ONCE = 250


@dataclass(frozen=True)
class Options:
    """Train a PixelCNN on the images of a run and score others."""

    run: str
    """A run directory: the images that it held out are not trained on."""
    train: tuple[str, ...]
    """Files or folders of the images that the run was trained on."""
    images: tuple[str, ...]
    """Files or folders of test images."""
    width: int = 28
    """Channels."""
    blocks: int = 4
    """Residual blocks."""
    epochs: int = 20
    """Passes over the training images."""
    seed: int = 0
    """Seed of the weights and of the order of the images."""


class Masked(nn.Conv2d):
    """A convolution that sees the pixels before a pixel, and the pixel itself unless it is the first."""

    def __init__(self, before: int, after: int, side: int, is_first: bool) -> None:
        super().__init__(before, after, side, padding=side // 2)
        mask = torch.ones(side, side)
        mask[side // 2, side // 2 + (not is_first) :] = 0.0
        mask[side // 2 + 1 :] = 0.0
        self.register_buffer("mask", mask)

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        return self._conv_forward(x, self.weight * self.get_buffer("mask"), self.bias)


class Block(nn.Module):
    """x + a masked 3×3 convolution between two of 1×1, at half the channels."""

    def __init__(self, width: int) -> None:
        super().__init__()
        half = width // 2
        self.layers = nn.Sequential(
            nn.ReLU(),
            nn.Conv2d(width, half, 1),
            nn.ReLU(),
            Masked(half, half, 3, False),
            nn.ReLU(),
            nn.Conv2d(half, width, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        return x + cast(Tensor, self.layers(x))


class PixelCNN(nn.Module):
    """Log p(x) = Σ_i log p(x_i | x_<i) of 8-bit images of one channel, as the terms of an ELBO without a KL."""

    def __init__(self, shape: tuple[int, int, int], width: int, blocks: int) -> None:
        super().__init__()
        assert shape[0] == 1, "channels would have to be predicted one after the other"
        self.config = SimpleNamespace(dimensions=shape[1] * shape[2])  # what Optimisation asks of a model
        self.likelihood = likelihood(_LIKELIHOOD)
        self.layers = nn.Sequential(
            Masked(2, width, 7, True),
            *(Block(width) for _ in range(blocks)),
            nn.ReLU(),
            nn.Conv2d(width, width, 1),
            nn.ReLU(),
            nn.Conv2d(width, self.likelihood.raw_channels(1), 1),
        )

    def forward(self, batch: Batch, noise: Tensor) -> ElboTerms:
        """Log p(x), (N,); there is no noise in it."""
        level = as_levels(batch[IMAGE])
        inside = torch.ones_like(level)
        raw = full_precision(self.layers(torch.cat([level * (2.0 / 255.0) - 1.0, inside], 1)))
        return ElboTerms(sum_pixels(self.likelihood.log_prob_raw(level, raw)), noise[:, :1] * 0.0)


def main() -> None:
    options = tyro.cli(Options)
    torch.set_num_threads(1)
    torch.manual_seed(options.seed)
    run = Run.open(options.run)
    shape = cast(tuple[int, int, int], tuple(run.read_head()["model"]["image_shape"]))
    training = np.delete(read(options.train, shape), held_rows(run), axis=0)
    test = read(options.images, shape)
    network = PixelCNN(shape, options.width, options.blocks)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network({IMAGE: torch.zeros(1, *shape)}, torch.zeros(1, 1))
    config = TrainConfig(epochs=options.epochs, batch_size=_BATCH, learning_rate=2e-3)
    steps = len(training) // _BATCH
    optimisation = Optimisation(cast(Model, to_device(cast(Model, network), "cpu")), config, steps)
    start = time.process_time()
    generator = np.random.default_rng(options.seed)
    for epoch in range(options.epochs):
        order = generator.permutation(len(training))[: steps * _BATCH].reshape(steps, -1)
        elbos = [
            optimisation.step({IMAGE: torch.from_numpy(training[rows])}, torch.zeros(len(rows), 1)).elbo
            for rows in order
        ]
        print(f"epoch {epoch + 1}: log p(x) {float(torch.stack(elbos).mean()):.1f} nats", flush=True)
    seconds = time.process_time() - start
    result = {
        "weights": sum(parameter.numel() for parameter in network.parameters()),
        "multiply_accumulates": counter.get_total_flops() // 2,
        "training_seconds": round(seconds),
        "images": len(test),
        "bits_per_dim": bits_per_dim(optimisation.average, test),
    }
    print(
        ", ".join(
            f"{name} {value:,.4g}" if isinstance(value, float) else f"{name} {value:,}"
            for name, value in result.items()
        )
    )
    save("pixelcnn", [], **result)


def read(paths: tuple[str, ...], shape: tuple[int, int, int]) -> "np.typing.NDArray[np.uint8]":
    """All images, [N, C, H, W]."""
    return np.concatenate([batch.images for batch in read_images(find_images(paths).pieces, ImageContract(*shape))])


def bits_per_dim(network: nn.Module, images: "np.typing.NDArray[np.uint8]") -> float:
    """−log₂ p(x) / (C·H·W), mean over images [N, C, H, W]."""
    nats = []
    with torch.inference_mode():
        for start in range(0, len(images), _TESTED_AT_ONCE):
            part = torch.from_numpy(images[start : start + _TESTED_AT_ONCE])
            nats.append(network({IMAGE: part}, torch.zeros(len(part), 1)).elbo.double().mean() * len(part))
    return float(-torch.stack(nats).sum() / len(images) / images[0].size / np.log(2))


if __name__ == "__main__":
    main()
