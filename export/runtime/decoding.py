"""`Decoding`: log p(x|z) of one image under many latent vectors, in nats, its gradient, and draws from it.

The estimators of log p(x) ask this object alone. With a causal layer the parameters depend on the image as well as on
z: they come from conditional.onnx in the place of decoder.onnx.
"""

import math
from functools import cached_property

import numpy as np
import numpy.typing as npt

from export.bundle.format import CONDITIONAL, DECODER, GRADIENT, Bundle
from export.runtime.device import Device
from export.runtime.pixel_by_pixel import PixelByPixel
from export.runtime.session import Arrays, Session
from vae_core.likelihoods import likelihood
from vae_core.likelihoods.base import Array, Likelihood

WITH_GRADIENT = 3
"""What log p(x|z) with its gradient is counted as, in decodes. It takes 1.9 to 2.4 times as long as without."""

# Latent vectors decoded at once, and their pixels. They depend on the images' shape alone: matrix products of different
# heights round differently.
_DECODES, _GRADIENTS = 128, 16
_PIXELS = 1 << 22
# Differences of one step are as good as central ones for a curvature, at half the decodes: the gradient is exact.
_STEP = 0.05


class Decoding:
    """Log p(x|z) of one image at a time. One object per thread."""

    def __init__(self, bundle: Bundle, device: Device) -> None:
        """Open the decoder of a model of pixels.

        Args:
            bundle: of a model of pixels.
            device: where to run, always on one CPU thread: how a sum is split decides its last bit.
        """
        self.likelihood: Likelihood = likelihood(bundle.manifest["likelihood"]["name"])
        self.latent_dim = bundle.latent_dim
        self.decodes = 0
        """Latent vectors decoded so far; a gradient counts as `WITH_GRADIENT`."""
        self._bundle, self._device = bundle, device
        self._names = [output.name for output in self.likelihood.parameters(bundle.shape[0])]
        room = max(1, _PIXELS // math.prod(bundle.shape))
        self.at_once, self._gradients_at_once = min(_DECODES, room), min(_GRADIENTS, room)
        self._decoder = Session(bundle.graph(CONDITIONAL if bundle.is_causal else DECODER), provider=device)
        self.provider = self._decoder.provider

    @cached_property
    def _gradient(self) -> Session:
        """Opened when it is needed, as most estimators have no use for it."""
        return Session(self._bundle.graph(GRADIENT), provider=self._device)

    def parameters(self, image: npt.NDArray[np.uint8], z: Array) -> Arrays:
        """The likelihood's parameters for an image, uint8 [C,H,W], at z [K,D]: by name, each float32 with K rows."""
        self.decodes += len(z)
        blocks = [
            self._decoder.run(_inputs(image, z[start : start + self.at_once]), self._names)
            for start in range(0, len(z), self.at_once)
        ]
        return {name: np.concatenate([block[name] for block in blocks]) for name in self._names}

    @cached_property
    def _pixel_by_pixel(self) -> tuple[Session, PixelByPixel]:
        """The decoder, and what draws the pixels of a causal model from what it computes."""
        decoder = Session(self._bundle.graph(DECODER), provider=self._device)
        return decoder, PixelByPixel(self._bundle, Device.of("cpu"))

    def draw(self, z: Array, row: int, seed: int) -> npt.NDArray[np.uint8]:
        """One draw x ~ p(x|z), uint8 [C,H,W], for a latent vector z [D], with the noise of `row`."""
        rows = np.array([row])
        if not self._bundle.is_causal:
            nothing = np.zeros(self._bundle.shape, np.uint8)
            drawn = self.likelihood.draw(self.parameters(nothing, z[None]), rows, seed)
        else:
            decoder, pixels = self._pixel_by_pixel
            drawn = pixels.draw(decoder.run({"z": z[None].astype(np.float32)}), rows, seed)
        image: npt.NDArray[np.uint8] = drawn[0]
        return image

    def log_px_z(self, image: npt.NDArray[np.uint8], z: Array) -> Array:
        """Log p(x|z_k) of an image, uint8 [C,H,W], at latent vectors z [K,D]: [K]."""
        found = np.empty(len(z))
        for start in range(0, len(z), self.at_once):
            here = slice(start, start + self.at_once)
            found[here] = self.likelihood.log_px_z(image, self.parameters(image, z[here]))
        return found

    def with_gradient(self, image: npt.NDArray[np.uint8], z: Array) -> tuple[Array, Array]:
        """Log p(x|z_k) and its gradient with respect to z_k: [K] and [K,D]; arguments as for `log_px_z`.

        The value is summed in float32, to some 1e-7 of it, where `log_px_z` sums in float64.
        """
        self.decodes += WITH_GRADIENT * len(z)
        step = self._gradients_at_once
        found = [self._gradient.run(_inputs(image, z[start : start + step])) for start in range(0, len(z), step)]
        value, gradient = (np.concatenate([each[name] for each in found]) for name in ("log_px_z", "gradient"))
        return value.astype(np.float64), gradient.astype(np.float64)

    def curvature(self, image: npt.NDArray[np.uint8], z: Array) -> Array:
        """JᵀFJ at one latent vector z [D]: [D,D], in D + 1 decodes.

        J is the Jacobian of the likelihood's parameters, by differences, and F their Fisher information: the
        Gauss–Newton approximation of −∇² log p(x|z). Memory: D times the parameters of an image.
        """
        found = self.parameters(image, np.concatenate([z[None], z + _STEP * np.eye(len(z))]))
        here = {name: value[0].astype(np.float64) for name, value in found.items()}
        jacobian = {name: (value[1:] - value[0]) / np.float32(_STEP) for name, value in found.items()}
        return self.likelihood.curvature(jacobian, here)


def _inputs(image: npt.NDArray[np.uint8], z: Array) -> Arrays:
    """What a graph may take: a session picks its own."""
    return {"z": z.astype(np.float32), "image": np.broadcast_to(image, (len(z), *image.shape))}
