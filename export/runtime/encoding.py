"""`Encoding`: the approximate posterior q(z|x) of one image.

The estimators of log p(x) ask the returned `Posterior` alone. A model whose posterior is not a diagonal Gaussian
returns another one here, such as one that draws through a graph (image, noise) → (z, log q).
"""

import numpy as np
import numpy.typing as npt

from export.bundle.format import ENCODER, Bundle
from export.runtime.device import Device
from export.runtime.session import Session
from vae_core.latents.base import Posterior
from vae_core.latents.diagonal_gaussian import DiagonalGaussian


class Encoding:
    """Encodes one image at a time. One object per thread."""

    def __init__(self, bundle: Bundle, device: Device) -> None:
        """Open the encoder of a bundle."""
        self._encoder = Session(bundle.graph(ENCODER), provider=device, fuse_layout=True)

    def posterior(self, image: npt.NDArray[np.uint8]) -> Posterior:
        """q(z|x) of an image, uint8 [C,H,W], in float64 and without a batch: mean [D]."""
        outputs = self._encoder.run({"image": image[None]})
        return DiagonalGaussian(*(outputs[name][0].astype(np.float64) for name in ("mean", "log_variance")))
