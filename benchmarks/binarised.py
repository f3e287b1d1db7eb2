"""Log-likelihoods of dynamically binarised test images: runs of this package, and pythae's VAE.

    python -m benchmarks.binarised --test IMAGES… --runs RUN… [--train IMAGES… --pythae-seconds 600]

Every model is evaluated on the same black and white draws of the first test images, those that `vae evaluate` makes
with seed 0, by importance sampling from its encoder under its prior N(0, I), in torch on one thread. Differences are
paired.

pythae's VAE has its own networks (an MLP of 512 units each way), as many latent variables as the first run's model if
that is of the family conv, and its own loss. It learns from new draws of the images that the first run learnt from, for
so many seconds of processor time, by Adam at 1e-3 with a cosine decay. Install it without its dependencies, which are
here already: `pip install --no-deps pythae`.
"""

import argparse
import time

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from benchmarks.likelihood_estimators import first_images
from jobs.train.run_directory import Run
from jobs.train.splits import held_rows
from vae_core import checkpoint
from vae_core.batch import IMAGE, Batch
from vae_core.binarisation import drawn
from vae_core.elbo import LatentVariableModel
from vae_core.estimators import importance_terms, log_mean_exp
from vae_core.latents import StandardNormal
from vae_core.latents.base import Draw
from vae_core.latents.diagonal_gaussian import DiagonalGaussian
from vae_core.models.base import Model
from vae_core.noise import Purpose, standard_normal

Images = npt.NDArray[np.uint8]

IMAGES_AT_ONCE, SAMPLES_AT_ONCE = 64, 50
BATCH, LEARNING_RATE = 128, 1e-3


class Pythae:
    """pythae's VAE behind the interface of the estimators."""

    def __init__(self, shape: tuple[int, int, int], latent_dim: int) -> None:
        from pythae.models import VAE, VAEConfig

        self.config = VAEConfig(input_dim=shape, latent_dim=latent_dim, reconstruction_loss="bce")
        self.network = VAE(self.config)

    def prior(self, batch: Batch) -> StandardNormal:
        del batch
        return StandardNormal(self.config.latent_dim)

    def posterior(self, batch: Batch) -> DiagonalGaussian:
        found = self.network.encoder(batch[IMAGE].float() / 255.0)
        return DiagonalGaussian(found.embedding, found.log_covariance)

    def log_px_z(self, batch: Batch, z: Tensor) -> Tensor:
        x = batch[IMAGE].float().flatten(1) / 255.0
        p = self.network.decoder(z).reconstruction.flatten(1)
        return -torch.nn.functional.binary_cross_entropy(p, x, reduction="none").sum(1)

    def sample_posterior(self, batch: Batch, posterior: DiagonalGaussian, noise: Tensor) -> tuple[Draw[Tensor], Tensor]:
        draw = posterior.sample(noise)
        return draw, self.log_px_z(batch, draw.z)

    def train(self, images: Images, seconds: float) -> int:
        """Learn for so many seconds of processor time; return the number of epochs, begun ones included."""
        optimizer = torch.optim.Adam(self.network.parameters(), lr=LEARNING_RATE)
        generator, began, epochs = np.random.default_rng(0), time.process_time(), 0
        grey = torch.from_numpy(images).float() / 255.0
        while True:
            epochs += 1
            for rows in torch.from_numpy(generator.permutation(len(images))).split(BATCH):
                spent = (time.process_time() - began) / seconds
                if spent >= 1.0:
                    return epochs
                optimizer.param_groups[0]["lr"] = LEARNING_RATE * 0.5 * (1.0 + np.cos(np.pi * spent))
                optimizer.zero_grad()
                self.network({"data": torch.bernoulli(grey[rows])}).loss.backward()
                optimizer.step()


@torch.inference_mode()
def bounds(model: LatentVariableModel, images: Images, samples: int, size: int) -> tuple[Tensor, Tensor]:
    """The ELBO and the importance-weighted estimate of each image, float64 [N] each, in nats."""
    elbo, log_px = [], []
    for start in range(0, len(images), IMAGES_AT_ONCE):
        batch = {IMAGE: torch.from_numpy(images[start : start + IMAGES_AT_ONCE])}
        rows, weights = np.arange(start, start + len(batch[IMAGE])), []
        for block, first in enumerate(range(0, samples, SAMPLES_AT_ONCE)):
            count = min(SAMPLES_AT_ONCE, samples - first)
            noise = standard_normal(0, Purpose.EVALUATE_POSTERIOR, rows, count * size, epoch=block)
            terms = importance_terms(model, batch, torch.from_numpy(noise).reshape(len(rows), count, size))
            weights.append(terms.log_weights().double())
        together = torch.cat(weights, dim=1)
        elbo.append(together.mean(1))
        log_px.append(log_mean_exp(together))
    return torch.cat(elbo), torch.cat(log_px)


def mean(values: Tensor) -> str:
    return f"{values.mean():9.2f} ± {values.std() / len(values) ** 0.5:.2f}"


def trained(run: str) -> Model:
    files = Run.open(run).read_checkpoint("best")
    assert files is not None, f"{run} has no checkpoint"
    return checkpoint.load_model(files).eval()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--test", nargs="+", required=True, metavar="IMAGES")
    parser.add_argument(
        "--runs", nargs="+", required=True, metavar="RUN", help="the others are compared with the first"
    )
    parser.add_argument("--train", nargs="+", metavar="IMAGES", help="that the first run was trained on, for pythae")
    parser.add_argument("--pythae-seconds", type=float, help="of processor time")
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--samples", type=int, default=1000)
    arguments = parser.parse_args()
    torch.set_num_threads(1)

    models = {run: trained(run) for run in arguments.runs}
    first = models[arguments.runs[0]]
    shape = first.config.image_shape
    grey = first_images(arguments.test, shape, arguments.images)
    images = drawn(grey, np.arange(len(grey)), 0, Purpose.BINARISE_EVALUATE)
    print(f"{len(images):,} test images, {arguments.samples:,} samples each; nats per image", flush=True)

    def report(name: str, model: LatentVariableModel, size: int, reference: Tensor | None) -> Tensor:
        elbo, log_px = bounds(model, images, arguments.samples, size)
        against = "" if reference is None else f"   above the first {mean(log_px - reference)}"
        print(f"{name}\n    ELBO {mean(elbo)}   log p(x) {mean(log_px)}{against}", flush=True)
        return log_px

    reference = None
    for run, model in models.items():
        found = report(run, model, model.noise_size, reference)
        reference = found if reference is None else reference
    if arguments.pythae_seconds:
        other = Pythae(shape, first.noise_size if first.has_diagonal_posterior else 32)
        everything = first_images(arguments.train, shape, np.iinfo(np.int64).max)
        learnt = np.delete(everything, held_rows(Run.open(arguments.runs[0])), axis=0)
        epochs = other.train(learnt, arguments.pythae_seconds)
        other.network.eval()
        weights = sum(p.numel() for p in other.network.parameters())
        name = f"pythae's VAE, {arguments.pythae_seconds:g} s, {epochs} epochs, {weights:,} weights"
        report(name, other, other.config.latent_dim, reference)


if __name__ == "__main__":
    main()
