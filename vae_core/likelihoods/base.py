"""What every likelihood p(x|z) offers: per-pixel log-probability, mean, and the names of its parameters."""

from abc import ABC, abstractmethod
from typing import ClassVar

from torch import Tensor


class Likelihood(ABC):
    """A family of independent distributions, one per pixel, with the decoder's output as its parameters.

    Parameters are (..., P, C, H, W); images are grey levels 0…255 as floats, (..., C, H, W). The family has no
    state and no weights.
    """

    parameter_names: ClassVar[tuple[str, ...]]
    """The P parameters, in the order of the decoder's output."""
    kind: ClassVar[str]
    """`mass` (a probability of 8-bit images: bits per dimension make sense), `density` (of pixels in [0, 1]), or
    `score` (no likelihood of grey pixels)."""

    def constrain(self, raw: Tensor) -> Tensor:
        """The decoder's raw output (..., P, C, H, W) as valid parameters of the same shape."""
        return raw

    @abstractmethod
    def log_prob(self, level: Tensor, parameters: Tensor) -> Tensor:
        """Log p(x|z) of each pixel in nats: (..., C, H, W)."""

    @abstractmethod
    def mean(self, parameters: Tensor) -> Tensor:
        """E[x|z] in grey levels 0…255: (..., C, H, W)."""
