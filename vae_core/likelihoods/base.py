"""The interface of a likelihood p(x|z): per-pixel log-probability, mean, peak and draws, and its parameters.

Parameters are a mapping, name → array, each of its own shape, which ends in height and width. Training and the graphs
compute in torch; scoring and sampling workers evaluate and draw in numpy, from what decoder.onnx returns.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
import numpy.typing as npt

from vae_core.lazy import F
from vae_core.noise import Purpose, uniform
from vae_core.outputs import Output

if TYPE_CHECKING:
    from torch import Tensor

Array = npt.NDArray[np.float64]
Kind = Literal["mass", "density", "score"]

_INFORMATION_DRAWS = 32
_STEP = 1e-5  # of differences in place of a score
_SLAB = 1 << 13  # pixels at a time: intermediate results then stay in the processor's cache, which is 4 times as fast


class Likelihood(ABC):
    """A family of distributions of images. It has no state and no weights.

    Images are grey levels 0…255, as floats (..., C, H, W). Log p is per pixel, (..., C', H, W): C' is C where the
    channels are independent given z, and 1 where their distribution is joint.
    """

    kind: ClassVar[Kind]
    """`mass` (a probability of 8-bit images: bits per dimension make sense), `density` (of pixels in [0, 1]), or
    `score` (no likelihood of grey pixels)."""

    @property
    def name(self) -> str:
        """Its name in the registry, derived from its module."""
        return type(self).__module__.rpartition(".")[2].replace("_", "-")

    @abstractmethod
    def parameters(self, channels: int) -> tuple[Output, ...]:
        """Descriptions of the parameters for images with C channels, in the order of `constrain`."""

    @abstractmethod
    def raw_channels(self, channels: int) -> int:
        """Q, the decoder's output channels for images with C channels."""

    # torch: training, graphs

    @abstractmethod
    def constrain(self, raw: "Tensor") -> "dict[str, Tensor]":
        """The decoder's raw output (..., Q, H, W) as valid parameters."""

    @abstractmethod
    def log_prob(self, level: "Tensor", parameters: "Mapping[str, Tensor]") -> "Tensor":
        """Log p(x|z) of each pixel in nats: (..., C', H, W)."""

    def log_prob_raw(self, level: "Tensor", raw: "Tensor") -> "Tensor":
        """`log_prob` from the decoder's raw output, for training: a family may have a cheaper gradient for it."""
        return self.log_prob(level, self.constrain(raw))

    @abstractmethod
    def mean(self, parameters: "Mapping[str, Tensor]") -> "Tensor":
        """E[x|z] in grey levels 0…255: (..., C, H, W)."""

    @abstractmethod
    def log_peak(self, parameters: "Mapping[str, Tensor]") -> "Tensor":
        """The highest log p(x|z) over all values of a pixel, fractional levels included, in nats: (..., C', H, W)."""

    # numpy: scoring and sampling workers

    @abstractmethod
    def log_prob_float64(self, level: Array, parameters: Mapping[str, Array]) -> Array:
        """`log_prob` in numpy's float64: (..., C', H, W)."""

    @abstractmethod
    def draw(
        self, parameters: Mapping[str, npt.NDArray[np.floating]], rows: npt.NDArray[np.int64], seed: int
    ) -> npt.NDArray[np.uint8]:
        """One draw x ~ p(x|z) per row, uint8 [N,C,H,W], a function of (parameters, row, seed) alone.

        Args:
            parameters: as decoder.onnx returns them, each with N rows.
            rows: the index of each sample, [N].
            seed: of the corpus.
        """

    @abstractmethod
    def score(self, level: Array, parameters: Mapping[str, Array]) -> dict[str, Array]:
        """The score ∂ log p / ∂θ of each pixel, in nats per unit of the parameter, in numpy's float64.

        Args:
            level: grey levels, (..., C, H, W).
            parameters: θ by name.

        Returns:
            By name, of the parameters' shapes.
        """

    def information_root(self, parameters: Mapping[str, Array]) -> dict[str, Array]:
        """A root of the Fisher information of each pixel: R vectors a_r with Σ_r a_r a_rᵀ ≈ E[score scoreᵀ].

        The expectation over x ~ p(x|z) is an average over 32 fixed draws, unless a family has a better way.

        Args:
            parameters: θ of one image by name, without a batch.

        Returns:
            The parts of a_r by name, [R, of the parameter's shape].

        Source: Fisher scoring; Amari 1998 for F as the metric of a Gauss–Newton step.
        """
        count = _INFORMATION_DRAWS
        repeated = {name: np.repeat(value[None], count, axis=0) for name, value in parameters.items()}
        drawn = self.draw(repeated, np.arange(count), 0).astype(np.float64)
        return {name: value / math.sqrt(count) for name, value in self.score(drawn, repeated).items()}

    def curvature(self, jacobian: Mapping[str, npt.NDArray[np.float32]], parameters: Mapping[str, Array]) -> Array:
        """JᵀFJ: the Fisher information about z of one image's pixels, [D,D], in nats per unit of z squared.

        Args:
            jacobian: ∂θ/∂z_d by name, [D, of the parameter's shape].
            parameters: θ of the image by name, without a batch.
        """
        root = self.information_root(parameters)
        size = len(next(iter(jacobian.values())))
        total = np.zeros((size, size))
        for r in range(len(next(iter(root.values())))):
            parts = [self._per_pixel(slope * root[name][r].astype(np.float32)) for name, slope in jacobian.items()]
            moved = np.sum(parts, axis=0).reshape(size, -1)  # J a_r of each pixel
            total += moved @ moved.T
        return total

    def _per_pixel(self, values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Sum over a pixel's parameters of one name: (D, …, H, W) → (D, C', H, W), C' as in `log_prob`."""
        summed: npt.NDArray[np.float32] = values.sum(axis=tuple(range(1, values.ndim - 2)))[:, None]
        return summed

    def log_px_z(self, image: npt.NDArray[np.uint8], parameters: Mapping[str, npt.NDArray[np.floating]]) -> Array:
        """Log p(x|z_k) of one image under K decoded latent vectors, in nats, [K], by `log_prob_float64`.

        Args:
            image: x, uint8 [C,H,W].
            parameters: as decoder.onnx returns them, each with K rows.
        """
        level = image.astype(np.float64)
        count = len(next(iter(parameters.values())))
        step = max(1, _SLAB // level.size)
        sums = np.empty(count)
        for start in range(0, count, step):
            slab = {name: value[start : start + step].astype(np.float64) for name, value in parameters.items()}
            sums[start : start + step] = self.log_prob_float64(level, slab).sum(axis=(-3, -2, -1))
        return sums


class Factorised(Likelihood):
    """A family of independent distributions, one per pixel and channel; every parameter is (..., C, H, W)."""

    outputs: ClassVar[tuple[Output, ...]]
    """The parameters, in the order of the decoder's output."""

    def parameters(self, channels: int) -> tuple[Output, ...]:
        """See the base class."""
        del channels  # the same for any number
        return self.outputs

    def raw_channels(self, channels: int) -> int:
        """C for each parameter."""
        return len(self.outputs) * channels

    def constrain(self, raw: "Tensor") -> "dict[str, Tensor]":
        """See the base class."""
        values = raw.chunk(len(self.outputs), dim=-3)
        return {output.name: value for output, value in zip(self.outputs, values, strict=True)}

    def draw(
        self, parameters: Mapping[str, npt.NDArray[np.floating]], rows: npt.NDArray[np.int64], seed: int
    ) -> npt.NDArray[np.uint8]:
        """See the base class."""
        wide = {name: value.astype(np.float64) for name, value in parameters.items()}
        shape = wide[self.outputs[0].name].shape
        return as_levels(self.draw_from(self.noise(rows, seed, math.prod(shape[1:])).reshape(shape), wide))

    def score(self, level: Array, parameters: Mapping[str, Array]) -> dict[str, Array]:
        """See the base class: by differences, unless a family has a formula."""
        scores = {}
        for name, value in parameters.items():
            # No two pixels share a parameter, so that all can take their steps at once.
            above, below = (
                self.log_prob_float64(level, {**parameters, name: value + step}) for step in (_STEP, -_STEP)
            )
            scores[name] = (above - below) / (2.0 * _STEP)
        return scores

    def _per_pixel(self, values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """See the base class: a channel is a pixel of its own."""
        return values

    def noise(self, rows: npt.NDArray[np.int64], seed: int, size: int) -> Array:
        """The noise that `draw_from` takes, [N, size]: uniform in (0, 1) unless overridden."""
        return uniform(seed, Purpose.SAMPLE_PIXEL, rows, size)

    @abstractmethod
    def draw_from(self, noise: Array, parameters: Mapping[str, Array]) -> Array:
        """Draws in grey levels, not rounded: the inverse distribution function at `noise`, all [N,C,H,W]."""


class LocationScale(Factorised):
    """A family with a location and a log-scale per pixel, in a unit of its own."""

    centre: ClassVar[float]
    """Mid-grey, which an untrained network predicts."""
    reach: ClassVar[float]
    """How far one unit of the network's output moves the location."""
    floor: ClassVar[float]
    """The smallest log-scale, approached smoothly; without it a peak may grow without bound."""
    start: ClassVar[float]
    """The log-scale of an untrained network."""
    ceiling: ClassVar[float]
    """The largest log-scale."""

    def constrain(self, raw: "Tensor") -> "dict[str, Tensor]":
        """See `location` and `log_scale`."""
        raw_location, raw_scale = raw.chunk(2, dim=-3)
        return {"location": self.location(raw_location), "log_scale": self.log_scale(raw_scale)}

    def location(self, raw: "Tensor") -> "Tensor":
        """Centre + reach · raw."""
        return self.centre + self.reach * raw

    def log_scale(self, raw: "Tensor") -> "Tensor":
        """Floor + softplus(raw + start − floor), up to the ceiling."""
        return (self.floor + F.softplus(raw + (self.start - self.floor))).clamp(max=self.ceiling)


def as_levels(drawn: Array) -> npt.NDArray[np.uint8]:
    """Continuous draws rounded to whole grey levels and clipped to 0…255."""
    return np.clip(np.rint(drawn), 0, 255).astype(np.uint8)


def logit(u: Array) -> Array:
    """Log u/(1 − u), the inverse of the standard logistic distribution function."""
    value: Array = np.log(u) - np.log1p(-u)
    return value
