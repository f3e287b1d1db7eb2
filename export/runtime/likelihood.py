"""`LikelihoodEstimator`: log p(x) under a bundle's model with fresh noise, a function of (bundle, seed, row) alone.

Likelihood.onnx has constant noise, the same for every image: good for comparing images, useless for the Monte Carlo
error of a mean. Here every image has its own noise: the estimates are independent, so that their spread over images is
a valid standard error. With z_k drawn from q(z|x) and K draws more from the prior:

- ELBO = (1/K) Σ_k log p(x|z_k) − KL(q(z|x) ‖ p(z)), the KL in closed form where the bundle's prior has one, else the
  mean of log q(z_k|x) − log p(z_k)
- importance sampling: log (1/K) Σ_k w_k with w_k = p(x|z_k) p(z_k) / q(z_k|x), z_k ~ q(z|x)
- Monte Carlo: log (1/K) Σ_k w_k with w_k = p(x|z_k), z_k ~ p(z)
"""

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from export.bundle.format import DECODER, ENCODER, Bundle
from export.runtime.device import Device, Provider
from export.runtime.estimates import Array, Estimate, estimate
from export.runtime.session import Session
from vae_core.latents.diagonal_gaussian import DiagonalGaussian
from vae_core.likelihoods import likelihood
from vae_core.noise import Purpose, standard_normal

# Latent vectors decoded at once, and their pixels. A function of the images' shape alone: matrix products of different
# heights round differently.
_DECODES = 128
_PIXELS = 1 << 22


class ImageLikelihood(NamedTuple):
    """The likelihood of one image under the model, in nats."""

    reconstruction: float  # E_q[log p(x|z)], estimated
    reconstruction_variance: float  # of that estimate, over draws of the noise
    kl: float  # KL(q(z|x) ‖ p(z)), exact where the prior has a closed form, else estimated from the same draws
    elbo_variance: float  # of the ELBO's estimate over draws of the noise
    importance_sampling: Estimate
    monte_carlo: Estimate

    @property
    def elbo(self) -> float:
        """The evidence lower bound."""
        return self.reconstruction - self.kl


class LikelihoodEstimator:
    """Estimates log p(x). One object per thread."""

    def __init__(
        self, bundle: Bundle | str, *, samples: int = 1000, seed: int = 0, provider: Provider | Device = "auto"
    ) -> None:
        """Open a bundle.

        Args:
            bundle: an opened bundle, or its path or URL.
            samples: K ≥ 2, decoded once from the posterior and once from the prior.
            seed: of all noise, 0 ≤ seed < 2⁶³.
            provider: where to run, or a device; always on one CPU thread. The attribute `provider` is where it
                actually runs.
        """
        self.bundle = Bundle.open(bundle) if isinstance(bundle, str) else bundle
        self.bundle.require_images("estimating log p(x)")
        self._samples, self._seed = samples, seed
        # One thread, and a fixed batch size: how a sum is split decides its last bit.
        device = replace(Device.of(provider).shared_by(2), threads=1)
        self._encoder = Session(self.bundle.graph(ENCODER), provider=device, fuse_layout=True)
        self._decoder = Session(self.bundle.graph(DECODER), provider=device)
        self._likelihood = likelihood(self.bundle.manifest["likelihood"]["name"])
        self._at_once = max(1, min(_DECODES, samples, _PIXELS // math.prod(self.bundle.shape)))
        # In float64, as log densities are summed here.
        arrays = {name: values.astype(np.float64) for name, values in self.bundle.prior.to_arrays().items()}
        self._prior = type(self.bundle.prior).from_arrays(arrays, self.bundle.latent_dim)
        self.provider = self._decoder.provider

    def estimate(self, image: npt.NDArray[np.uint8], row: int) -> ImageLikelihood:
        """The likelihood of `image`, uint8 [C,H,W], with the noise of `row`."""
        outputs = self._encoder.run({"image": image[None]})
        posterior = DiagonalGaussian(*(outputs[name][0].astype(np.float64) for name in ("mean", "log_variance")))
        reconstruction, log_ratio, from_prior = np.empty((3, self._samples))
        for here, noise in self._noise(Purpose.EVALUATE_POSTERIOR, row, posterior.noise_size):
            z = posterior.draw(noise)
            reconstruction[here] = self._log_px_z(image, z)
            log_ratio[here] = self._prior.log_prob(z) - posterior.log_prob_of_draw(noise)
        for here, noise in self._noise(Purpose.EVALUATE_PRIOR, row, self._prior.noise_size):
            from_prior[here] = self._log_px_z(image, self._prior.draw(noise))
        closed = self._prior.has_closed_kl
        elbo = reconstruction if closed else reconstruction + log_ratio  # up to a constant
        return ImageLikelihood(
            reconstruction=float(reconstruction.mean()),
            reconstruction_variance=float(reconstruction.var(ddof=1) / self._samples),
            kl=float(self._prior.kl(posterior) if closed else -log_ratio.mean()),
            elbo_variance=float(elbo.var(ddof=1) / self._samples),
            importance_sampling=estimate(reconstruction + log_ratio),
            monte_carlo=estimate(from_prior),
        )

    def _noise(self, purpose: Purpose, row: int, size: int) -> Iterator[tuple[slice, Array]]:
        """Noise of all samples, float64 [≤ `_at_once`, size] at a time, and its position among the K samples."""
        for block, start in enumerate(range(0, self._samples, self._at_once)):
            count = min(self._at_once, self._samples - start)
            noise = standard_normal(self._seed, purpose, [row], count * size, epoch=block)
            yield slice(start, start + count), noise.reshape(count, size).astype(np.float64)

    def _log_px_z(self, image: npt.NDArray[np.uint8], z: Array) -> Array:
        """Log p(x|z) for latent vectors [≤ `_at_once`, D]."""
        padded = np.zeros((self._at_once, self.bundle.latent_dim), dtype=np.float32)
        padded[: len(z)] = z
        outputs = self._decoder.run({"z": padded})
        return self._likelihood.log_px_z(image, {key: v[: len(z)] for key, v in outputs.items() if key != "image"})
