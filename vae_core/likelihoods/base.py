"""What every likelihood p(x|z) offers: per-pixel log-probability, mean, and the names of its parameters."""

from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F


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

    def log_prob_raw(self, level: Tensor, raw: Tensor) -> Tensor:
        """`log_prob` from the decoder's raw output, for training: a family may have a cheaper gradient for it."""
        return self.log_prob(level, self.constrain(raw))

    @abstractmethod
    def mean(self, parameters: Tensor) -> Tensor:
        """E[x|z] in grey levels 0…255: (..., C, H, W)."""

    @abstractmethod
    def log_peak(self, parameters: Tensor) -> Tensor:
        """The highest log p(x|z) that any pixel value could have, between whole levels too, in nats: (..., C, H, W)."""


class LocationScale(Likelihood):
    """A family with a location and a scale per pixel, in a unit of its own."""

    parameter_names = ("location", "log_scale")
    centre: ClassVar[float]
    """Mid-grey, which an untrained network predicts."""
    reach: ClassVar[float]
    """How far one unit of the network's output moves the location."""
    floor: ClassVar[float]
    """The least log-scale, approached softly: it has to exist, for a peak may otherwise grow without bound."""
    start: ClassVar[float]
    """The log-scale of an untrained network."""
    ceiling: ClassVar[float]
    """The largest log-scale."""

    def constrain(self, raw: Tensor) -> Tensor:
        """Location = centre + reach · raw; log-scale = floor + softplus(raw + start − floor), up to the ceiling."""
        location, raw_scale = raw.unbind(-4)
        log_scale = self.floor + F.softplus(raw_scale + (self.start - self.floor))
        return torch.stack([self.centre + self.reach * location, log_scale.clamp(max=self.ceiling)], dim=-4)
