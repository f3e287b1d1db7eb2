"""`LikelihoodEstimator`: log p(x) by a bundle's model with fresh noise, a function of (bundle, seed, row) alone.

Likelihood.onnx holds its noise as constants, the same for every image: good for comparing images, useless for knowing
how far the noise has moved a mean. Here every image has its own: the estimates are independent, so that their spread
over images is an honest error. With z_k drawn from q(z|x) and K draws more from the prior:

- ELBO = (1/K) Σ_k log p(x|z_k) − KL(q(z|x) ‖ p(z)), the KL in closed form
- importance sampling: log (1/K) Σ_k w_k with w_k = p(x|z_k) p(z_k) / q(z_k|x), z_k ~ q(z|x)
- Monte Carlo: log (1/K) Σ_k w_k with w_k = p(x|z_k), z_k ~ p(z)
"""

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from export.bundle.format import DECODER, ENCODER, Bundle
from export.runtime.estimates import Array, Estimate, estimate
from export.runtime.log_prob import log_px_z
from export.runtime.session import Provider, Session
from vae_core.noise import Purpose, standard_normal

# Latent vectors decoded at once, and their pixels. Set by the images' shape alone: matrix products of different heights
# round differently.
_DECODES = 128
_PIXELS = 1 << 22


class ImageLikelihood(NamedTuple):
    """What the model says of one image, in nats."""

    reconstruction: float  # E_q[log p(x|z)], estimated
    reconstruction_variance: float  # of that estimate over draws of the noise, and so of the ELBO's too
    kl: float  # KL(q(z|x) ‖ p(z)), exact
    importance_sampling: Estimate
    monte_carlo: Estimate

    @property
    def elbo(self) -> float:
        """The evidence lower bound."""
        return self.reconstruction - self.kl


class LikelihoodEstimator:
    """Estimates log p(x). One object per thread."""

    def __init__(
        self, bundle: Bundle | str, *, samples: int = 1000, seed: int = 0, provider: Provider = "auto"
    ) -> None:
        """Open a bundle.

        Args:
            bundle: an opened bundle, or its path or URL.
            samples: K ≥ 2, decoded once from the posterior and once from the prior.
            seed: of all noise, 0 ≤ seed < 2⁶³.
            provider: where to run; `provider` of the object says where it really runs.
        """
        self.bundle = Bundle.open(bundle) if isinstance(bundle, str) else bundle
        self._samples, self._seed = samples, seed
        # One thread, and always the same batch: how a sum is split decides its last bit.
        self._encoder = Session(self.bundle.read(ENCODER), provider=provider, fuse_layout=True)
        self._decoder = Session(self.bundle.read(DECODER), provider=provider)
        self._family = self.bundle.manifest["model"]["likelihood"]
        self._at_once = max(1, min(_DECODES, samples, _PIXELS // math.prod(self.bundle.shape)))
        self.provider = self._decoder.provider

    def estimate(self, image: npt.NDArray[np.uint8], row: int) -> ImageLikelihood:
        """The likelihood of `image`, uint8 [C,H,W], with the noise of `row`."""
        outputs = self._encoder.run({"image": image[None]})
        mean, log_variance = (outputs[name][0].astype(np.float64) for name in ("mean", "log_variance"))
        reconstruction, log_ratio, prior = np.empty((3, self._samples))
        for here, noise in self._noise(Purpose.EVALUATE_POSTERIOR, row):
            z = mean + np.exp(0.5 * log_variance) * noise
            reconstruction[here] = self._log_px_z(image, z)
            # log p(z) − log q(z|x) = ½ Σ_d [ε² + log σ² − z²]
            log_ratio[here] = 0.5 * (noise**2 + log_variance - z**2).sum(axis=1)
        for here, z in self._noise(Purpose.EVALUATE_PRIOR, row):
            prior[here] = self._log_px_z(image, z)
        return ImageLikelihood(
            reconstruction=float(reconstruction.mean()),
            reconstruction_variance=float(reconstruction.var(ddof=1) / self._samples),
            kl=float(0.5 * np.sum(mean**2 + np.expm1(log_variance) - log_variance)),
            importance_sampling=estimate(reconstruction + log_ratio),
            monte_carlo=estimate(prior),
        )

    def _noise(self, purpose: Purpose, row: int) -> Iterator[tuple[slice, Array]]:
        """ε ~ N(0, I) of all samples, float64 [≤ `_at_once`, D] at a time, and where among the K samples they stand."""
        size = self.bundle.latent_dim
        for block, start in enumerate(range(0, self._samples, self._at_once)):
            count = min(self._at_once, self._samples - start)
            noise = standard_normal(self._seed, purpose, [row], count * size, epoch=block)
            yield slice(start, start + count), noise.reshape(count, size).astype(np.float64)

    def _log_px_z(self, image: npt.NDArray[np.uint8], z: Array) -> Array:
        """Log p(x|z) for latent vectors [≤ `_at_once`, D]."""
        padded = np.zeros((self._at_once, self.bundle.latent_dim), dtype=np.float32)
        padded[: len(z)] = z
        outputs = self._decoder.run({"z": padded})
        return log_px_z(self._family, image, {key: v[: len(z)] for key, v in outputs.items() if key != "image"})
