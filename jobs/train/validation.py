"""Validation on the held-out images: ELBO, importance-weighted bound and active latent units."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
import torch.distributed as dist
from torch import Tensor

from jobs.train.columns import Columns
from vae_core import noise
from vae_core.batch import LABEL, Batch
from vae_core.estimators import importance_log_weights, log_mean_exp
from vae_core.latents.diagonal_gaussian import DiagonalGaussian
from vae_core.models.base import Model
from vae_core.noise import Purpose
from vae_core.optimisation import on_device

_BATCH = 256
_BOUND_IMAGES = 1000  # the importance-weighted bound costs K decodes per image, so use only the first thousand
_ACTIVE_VARIANCE = 0.01  # Burda et al. 2016: a unit is active if the variance of its posterior mean exceeds this


class Validation(NamedTuple):
    """Means over the validation images, in nats per image."""

    elbo: float
    reconstruction: float
    kl: float
    importance_bound: float
    active_units: int
    accuracy: float | None = None
    """Share of the images with a class whose class is the likeliest given the mean of q(z|x); None without classes."""


class Spread(NamedTuple):
    """What a validation saw of this worker's images, of which the numbers of `Validation` are means."""

    elbo: npt.NDArray[np.float32]  # of each image, [N]
    kl: npt.NDArray[np.float32]  # of each latent variable, mean over the images, [D]
    mean: npt.NDArray[np.float32]  # μ of the first images, [n, D]
    log_variance: npt.NDArray[np.float32]  # log σ² of the first images, [n, D]


def sum_over_workers(values: Tensor) -> Tensor:
    """Sum `values` over all workers, in place; a no-op with one worker."""
    if dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1:
        dist.all_reduce(values)
    return values


class Validator:
    """Validates a model; each of n workers processes every n-th image."""

    def __init__(
        self, columns: Columns, rows: npt.NDArray[np.int64], *, samples: int, seed: int, device: torch.device
    ) -> None:
        """Create from this worker's validation images: `rows` of all of them, and their inputs for a model.

        K = `samples` are for the bound.
        """
        self._rows = rows
        self._inputs = {name: torch.from_numpy(values) for name, values in columns.items()}
        self._samples, self._seed, self._device = samples, seed, device
        self.spread: Spread | None = None
        """Of the last validation, if this worker has images."""
        self._bounded = int((self._rows < _BOUND_IMAGES).sum())

    @torch.inference_mode()
    def run(self, model: Model) -> Validation:
        """Validate `model`, with the same noise every time, so that epochs are comparable."""
        size = model.noise_size
        latents = model.prior(self._batch(0, 1, size)[0]).latent_dim
        sums = torch.zeros(
            6, dtype=torch.float64
        )  # reconstruction, kl, bound, images in it, right, images with a class
        moments = torch.zeros(2, latents, dtype=torch.float64)  # Σ μ, Σ μ²
        elbos, kl = [], torch.zeros(latents, dtype=torch.float64)
        first: DiagonalGaussian | None = None
        for start in range(0, len(self._rows), _BATCH):
            batch, epsilon = self._batch(start, start + _BATCH, size)
            posterior = model.posterior(batch)
            draw, log_px_z = model.sample_posterior(batch, posterior, epsilon)
            kl_of_images = model.prior(batch).kl_per_dimension(draw.given).double()
            sums[0] += log_px_z.double().sum().cpu()
            sums[1] += model.prior(batch).kl(draw.given).double().sum().cpu()
            elbos.append((log_px_z.double() - kl_of_images.sum(-1)).cpu())
            kl += kl_of_images.sum(0).cpu()
            first = first or posterior.at_mean
            if model.class_head is not None and LABEL in batch:
                found = model.class_head(posterior.mean).argmax(-1)
                sums[4] += (found == batch[LABEL]).double().sum().cpu()
                sums[5] += (batch[LABEL] >= 0).double().sum().cpu()
            mean = posterior.mean.double().cpu()
            moments += torch.stack([mean.sum(0), (mean**2).sum(0)])
        for start in range(0, self._bounded, _BATCH):
            batch, epsilon = self._batch(start, min(start + _BATCH, self._bounded), size * self._samples)
            log_weights = importance_log_weights(model, batch, epsilon.reshape(-1, self._samples, size))
            sums[2] += log_mean_exp(log_weights).double().sum().cpu()
            sums[3] += len(epsilon)
        if first is not None:
            arrays = torch.cat(elbos), kl / len(self._rows), first.mean, first.log_variance
            self.spread = Spread(*(values.float().cpu().numpy() for values in arrays))
        everything = torch.cat([sums, moments.flatten(), torch.tensor([float(len(self._rows))], dtype=torch.float64)])
        everything = sum_over_workers(everything.to(self._device)).cpu()
        sums, moments, count = everything[:6], everything[6:-1].reshape(2, latents), everything[-1]
        variance = moments[1] / count - (moments[0] / count) ** 2
        reconstruction, kl = (sums[:2] / count).tolist()
        return Validation(
            elbo=reconstruction - kl,
            reconstruction=reconstruction,
            kl=kl,
            importance_bound=float(sums[2] / sums[3]),
            active_units=int((variance > _ACTIVE_VARIANCE).sum()),
            accuracy=float(sums[4] / sums[5]) if sums[5] else None,
        )

    def _batch(self, start: int, stop: int, size: int) -> tuple[Batch, Tensor]:
        epsilon = noise.standard_normal(self._seed, Purpose.VALIDATION, self._rows[start:stop], size)
        batch = {name: on_device(values[start:stop], self._device) for name, values in self._inputs.items()}
        return batch, torch.from_numpy(epsilon).to(self._device)
