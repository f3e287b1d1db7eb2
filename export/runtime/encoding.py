"""`Encoding`: the approximate posterior q(z|x) of one image.

The estimators of log p(x) ask the returned `Posterior` alone. It is a diagonal Gaussian from encoder.onnx, or, where
latent variables are drawn level after level, one that draws through posterior.onnx.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from export.bundle.format import ENCODER, POSTERIOR, Bundle
from export.runtime.device import Device
from export.runtime.session import Arrays, Session
from vae_core.latents.base import Draw, Posterior
from vae_core.latents.diagonal_gaussian import DiagonalGaussian
from vae_core.likelihoods.base import Array


class Encoding:
    """Encodes one image at a time. One object per thread."""

    def __init__(self, bundle: Bundle, device: Device) -> None:
        """Open the encoder of a bundle."""
        self._encoder = Session(bundle.graph(ENCODER), provider=device, fuse_layout=True)
        hierarchical = bundle.is_hierarchical
        self._posterior = Session(bundle.graph(POSTERIOR), provider=device, fuse_layout=True) if hierarchical else None

    def posterior(self, image: npt.NDArray[np.uint8]) -> Posterior:
        """q(z|x) of an image, uint8 [C,H,W], in float64 and without a batch: mean [D]."""
        found = self._encoder.run({"image": image[None]})
        at_mean = _gaussian({name: values[0] for name, values in found.items()})
        if self._posterior is None:
            return at_mean
        return GraphPosterior(self._posterior, image, at_mean)


@dataclass(frozen=True)
class GraphPosterior:
    """q(z|x) of one image, whose draws come from a graph."""

    session: Session
    image: npt.NDArray[np.uint8]  # [C,H,W]
    at_mean: DiagonalGaussian
    """Of each latent variable, given the means of those before: [D]."""

    @property
    def noise_size(self) -> int:
        """Standard normal numbers per draw: D."""
        return self.at_mean.noise_size

    @property
    def mean(self) -> Array:
        """The means of the levels, each given those of the levels before: [D]."""
        mean: Array = self.at_mean.mean
        return mean

    def sample(self, noise: Array) -> Draw[Array]:
        """Draws with their log densities, from noise [K,D]."""
        images = np.broadcast_to(self.image, (len(noise), *self.image.shape))
        found = self.session.run({"image": images, "noise": noise.astype(np.float32)})
        given = _gaussian(found)
        return Draw(found["z"].astype(np.float64), given.log_prob_of_draw(noise), given)

    def draw(self, noise: Array) -> Array:
        """The latent vectors of `sample`; of no noise none, which the graph would refuse."""
        return self.sample(noise).z if len(noise) else noise

    def with_samples(self) -> "GraphPosterior":
        """Itself: its image has no batch axis, and draws have one for samples already."""
        return self


def _gaussian(found: Arrays) -> DiagonalGaussian:
    return DiagonalGaussian(*(found[name].astype(np.float64) for name in ("mean", "log_variance")))
