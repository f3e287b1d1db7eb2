"""Mixture of discretised logistics (Salimans et al. 2017, PixelCNN++): an exact joint mass of a pixel's channels.

    P(x) = Σ_m π_m Π_c L(x_c; μ_mc, s_mc),    μ_mc = location_mc + Σ_{j<c} α_mcj (x_j − 127.5)

L is the discretised logistic of `discretised_logistic`. A pixel has one of M components for all its channels. Within
it, red, green given red, and blue given both are logistic, each location shifting by −1 < α < 1 levels per level of
each preceding channel. Grey pixels have a plain mixture.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from vae_core.lazy import torch
from vae_core.likelihoods import discretised_logistic
from vae_core.likelihoods.base import Array, Likelihood, as_levels
from vae_core.noise import Purpose, uniform
from vae_core.outputs import Output
from vae_core.sums import log_sum_exp

if TYPE_CHECKING:
    from torch import Tensor

V = TypeVar("V")  # a torch tensor or a numpy array
_LOGISTIC = discretised_logistic.LIKELIHOOD


class LogisticMixture(Likelihood):
    """M components for each pixel.

    Parameters are log_weight (..., M, H, W), location and log_scale (..., M, C, H, W), and, for more than one channel,
    coefficient (..., M, C(C − 1)/2, H, W): α of green by red, of blue by red, of blue by green.
    """

    kind = "mass"

    def __init__(self, components: int = 5) -> None:
        self.components = components

    def parameters(self, channels: int) -> tuple[Output, ...]:
        """See the base class."""
        alone = (
            Output("log_weight", "log of the probability π of each component of the pixel", "1"),
            Output(
                "location",
                "its logistics' locations, where the channels before are mid-grey",
                "grey levels",
                scale=255.0,
            ),
            Output("log_scale", "log of their scales s", "log grey levels"),
        )
        moved = Output("coefficient", "α, by which a location moves with the level of a channel before", "1")
        return alone if channels == 1 else (*alone, moved)

    def raw_channels(self, channels: int) -> int:
        """A logit, C locations, C log-scales and C(C − 1)/2 coefficients for each component: M (C + 1)(C + 2)/2."""
        return self.components * (channels + 1) * (channels + 2) // 2

    def constrain(self, raw: "Tensor") -> "dict[str, Tensor]":
        """Weights that sum to one, location and log-scale as in `LocationScale`, and α = tanh of the raw output."""
        parameters = self._all_but_scale(raw)
        return parameters | {"log_scale": _LOGISTIC.log_scale(parameters["log_scale"])}

    def _all_but_scale(self, raw: "Tensor") -> "dict[str, Tensor]":
        """As `constrain`, except that the log-scale stays raw."""
        count = self.components
        channels = math.isqrt(2 * raw.shape[-3] // count) - 1  # of (C + 1)(C + 2)
        sizes = [count, count * channels, count * channels, count * channels * (channels - 1) // 2]
        logits, location, raw_scale, coefficient = torch.split(raw, sizes, dim=-3)
        parameters = {
            # log_softmax, with operations that every runtime computes correctly
            "log_weight": logits - log_sum_exp(logits, axis=-3).unsqueeze(-3),
            "location": torch.unflatten(_LOGISTIC.location(location), -3, (count, -1)),
            "log_scale": torch.unflatten(raw_scale, -3, (count, -1)),
        }
        if channels > 1:
            parameters["coefficient"] = torch.unflatten(torch.tanh(coefficient), -3, (count, -1))
        return parameters

    def log_prob(self, level: "Tensor", parameters: "Mapping[str, Tensor]") -> "Tensor":
        """Log P of all channels of each pixel: (..., 1, H, W)."""
        return _log_prob(level, parameters, _LOGISTIC.log_prob)

    def log_prob_raw(self, level: "Tensor", raw: "Tensor") -> "Tensor":
        """See the base class."""
        raw = raw.contiguous()  # slices of a channels-last output would be scattered over its memory

        def of_channel(level: "Tensor", parameters: "Mapping[str, Tensor]") -> "Tensor":
            raw_location = (parameters["location"] - _LOGISTIC.centre) / _LOGISTIC.reach
            return _LOGISTIC.one_pass(level, raw_location, parameters["log_scale"])

        return _log_prob(level, self._all_but_scale(raw), of_channel)

    def mean(self, parameters: "Mapping[str, Tensor]") -> "Tensor":
        """E[x|z]: moments channel by channel within each component, then the mean over the components.

        The variance of the preceding channels widens a channel's logistic. This is exact except for clipping at black
        and white: within half a level for scales up to 10, two up to 30.
        """
        means: list[Tensor] = []
        covariance: dict[tuple[int, int], Tensor] = {}  # of the channels, in units of a logistic's s²
        logistics = _by_channel(parameters)
        for c in range(len(logistics.location)):
            given = logistics.given(c, means)
            alpha = logistics.coefficients(c)
            # Cov(μ_c, x_j) = Σ_i α_i Cov(x_i, x_j), Var(x_c) = s² + Σ_j α_j Cov(μ_c, x_j)
            shared = [sum(alpha[i] * covariance[i, j] for i in range(c)) for j in range(c)]
            variance = torch.exp(2.0 * given["log_scale"]) + sum(alpha[j] * shared[j] for j in range(c))
            scale = torch.sqrt(variance)
            if c > 0:
                given["log_scale"] = torch.log(scale)
            means.append(_LOGISTIC.mean(given))
            # Clipped values do not move: the share inside is the slope ∂E[x_c]/∂μ_c.
            location = given["location"]
            inside = torch.sigmoid(location / scale) - torch.sigmoid((location - 255.0) / scale)
            covariance[c, c] = variance * inside
            for j in range(c):
                covariance[c, j] = covariance[j, c] = shared[j] * inside
        weight = torch.exp(parameters["log_weight"])
        return torch.stack([(weight * mean).sum(-3) for mean in means], dim=-3)

    def log_peak(self, parameters: "Mapping[str, Tensor]") -> "Tensor":
        """As if all components had the same mode: log Σ_m π_m Π_c max L, (..., 1, H, W).

        A component's mode is found channel by channel, each given the modes before it. For grey pixels this
        is an upper bound; where the components lie apart, the true peak is at most log M lower.
        """
        log_joint = parameters["log_weight"]
        modes: list[Tensor] = []
        logistics = _by_channel(parameters)
        for channel in range(len(logistics.location)):
            given = logistics.given(channel, modes)
            log_joint = log_joint + _LOGISTIC.log_peak(given)
            modes.append(_LOGISTIC.mode(given))
        return log_sum_exp(log_joint, axis=-3).unsqueeze(-3)

    def log_prob_float64(self, level: Array, parameters: Mapping[str, Array]) -> Array:
        """Log P of all channels of each pixel: (..., 1, H, W)."""
        return _log_prob(level, parameters, _LOGISTIC.log_prob_float64)

    def score(self, level: Array, parameters: Mapping[str, Array]) -> dict[str, Array]:
        """P(m|x) times the score of component m; that of the log-weight, taken as free, is P(m|x) itself."""
        logistics = _by_channel(parameters)
        channels = [value[..., None, :, :] for value in _unbind(level)]  # (..., 1, H, W)
        log_joint: Any = parameters["log_weight"]
        by_location, by_scale, by_coefficient = [], [], []
        for channel, value in enumerate(channels):
            given = logistics.given(channel, channels[:channel])
            log_joint = log_joint + _LOGISTIC.log_prob_float64(value, given)
            score = _LOGISTIC.score(value, given)
            by_location.append(score["location"])
            by_scale.append(score["log_scale"])
            by_coefficient += [score["location"] * (before - _LOGISTIC.centre) for before in channels[:channel]]
        share = np.exp(log_joint - log_sum_exp(log_joint, axis=-3)[..., None, :, :])  # P(m|x), (..., M, H, W)
        scores = {
            "log_weight": share,
            "location": np.stack([share * each for each in by_location], axis=-3),
            "log_scale": np.stack([share * each for each in by_scale], axis=-3),
        }
        if by_coefficient:
            scores["coefficient"] = np.stack([share * each for each in by_coefficient], axis=-3)
        return scores

    def draw(
        self, parameters: Mapping[str, npt.NDArray[np.floating]], rows: npt.NDArray[np.int64], seed: int
    ) -> npt.NDArray[np.uint8]:
        """See the base class: a component, then channel by channel."""
        wide = {name: value.astype(np.float64) for name, value in parameters.items()}
        count, _, channels, height, width = wide["location"].shape
        size = (channels + 1) * height * width
        u = uniform(seed, Purpose.SAMPLE_PIXEL, rows, size).reshape(count, channels + 1, height, width)
        cumulative = np.cumsum(np.exp(wide.pop("log_weight")), axis=1)
        chosen = (u[:, :1] * cumulative[:, -1:] > cumulative).sum(axis=1)[:, None, None]  # (N, 1, 1, H, W)
        own = {name: np.take_along_axis(value, chosen, axis=1)[:, 0] for name, value in wide.items()}  # (N, ., H, W)
        drawn: list[Array] = []
        logistics = _by_channel(own)
        for channel in range(channels):
            levels = _LOGISTIC.draw_from(u[:, channel + 1], logistics.given(channel, drawn))
            drawn.append(as_levels(levels).astype(np.float64))
        return np.stack(drawn, axis=1).astype(np.uint8)


# For both tensors and arrays:


class _Logistics(NamedTuple):
    """The logistics by channel, each (..., H, W)."""

    location: Sequence[Any]
    log_scale: Sequence[Any]
    coefficient: Sequence[Any]  # by pair of channels

    def given(self, channel: int, before: Sequence[Any]) -> dict[str, Any]:
        """The parameters of one channel's logistic, given the values of the preceding channels."""
        location = self.location[channel]
        for coefficient, value in zip(self.coefficients(channel), before, strict=True):
            location = location + coefficient * (value - _LOGISTIC.centre)
        return {"location": location, "log_scale": self.log_scale[channel]}

    def coefficients(self, channel: int) -> Sequence[Any]:
        """α of one channel for each preceding channel."""
        first = channel * (channel - 1) // 2
        return self.coefficient[first : first + channel]


def _by_channel(parameters: Mapping[str, Any]) -> _Logistics:
    coefficient = parameters.get("coefficient")
    return _Logistics(
        _unbind(parameters["location"]),
        _unbind(parameters["log_scale"]),
        () if coefficient is None else _unbind(coefficient),
    )


def _unbind(values: Any) -> Sequence[Any]:
    """(..., C, H, W) → C times (..., H, W)."""
    if isinstance(values, np.ndarray):
        return [values[..., channel, :, :] for channel in range(values.shape[-3])]
    channels: Sequence[Any] = values.unbind(-3)
    return channels


def _log_prob(level: V, parameters: Mapping[str, V], log_prob: Callable[[V, Mapping[str, V]], V]) -> V:
    """Log Σ_m π_m Π_c L(x_c; μ_mc, s_mc), L by `log_prob`: (..., 1, H, W)."""
    logistics = _by_channel(parameters)
    channels = [value[..., None, :, :] for value in _unbind(level)]  # (..., 1, H, W)
    log_joint: Any = parameters["log_weight"]  # (..., M, H, W)
    for channel, value in enumerate(channels):
        log_joint = log_joint + log_prob(value, logistics.given(channel, channels[:channel]))
    log_mass: V = log_sum_exp(log_joint, axis=-3)[..., None, :, :]
    return log_mass


LIKELIHOOD = LogisticMixture()
