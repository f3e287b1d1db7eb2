"""`Joint`: log p(x, z) of one image as a function of z, with gradient and curvature, in nats."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from export.runtime.decoding import Decoding
from vae_core.latents import Prior
from vae_core.likelihoods.base import Array

Normal = Callable[[int], Array]
"""Standard normal numbers: n → [n]. Every call draws new ones."""


class Joint(NamedTuple):
    """Log p(x, z) = log p(x|z) + log p(z)."""

    image: npt.NDArray[np.uint8]  # x, [C,H,W]
    decoding: Decoding
    prior: Prior  # with float64 parameters

    def log_prob(self, z: Array) -> Array:
        """Log p(x, z_k): [K,D] → [K]."""
        return self.decoding.log_px_z(self.image, z) + self.prior.log_prob(z)

    def with_gradient(self, z: Array) -> tuple[Array, Array]:
        """Log p(x, z_k) and its gradient: [K,D] → [K], [K,D]."""
        value, gradient = self.decoding.with_gradient(self.image, z)
        return value + self.prior.log_prob(z), gradient + self.prior.gradient(z)

    def curvature(self, z: Array) -> Array:
        """JᵀFJ + the prior's precision, positive definite, in place of −∇² log p(x, z): [D] → [D,D]."""
        curvature: Array = self.decoding.curvature(self.image, z) + self.prior.precision(z)
        return curvature
