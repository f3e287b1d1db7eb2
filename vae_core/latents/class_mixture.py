"""A prior with classes: p(z, y) = p(y) p(z|y), each p(z|y) a mixture of Gaussians of its own.

It is one mixture of Gaussians whose components belong to classes, so that everything that takes a `GaussianMixture`
takes it as p(z) = Σ_y p(y) p(z|y).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self, TypeVar

import numpy as np

from vae_core.latents.gaussian_mixture import GaussianMixture
from vae_core.sums import log_sum_exp

V = TypeVar("V")

# Log weight of components that fill up classes with fewer than the others: e^−10,000 is 0, in half precision too.
_ABSENT = -1e4


@dataclass(frozen=True)
class ClassMixture(GaussianMixture):
    """Y·M Gaussians over D latent variables: M for each of Y classes, in the order of the classes."""

    log_class: Any  # log p(y), (Y,)

    name: ClassVar[str] = "classes"

    @classmethod
    def join(cls, log_class: Any, mixtures: Sequence[GaussianMixture]) -> Self:
        """The prior of classes with log p(y), (Y,), and p(z|y), Y mixtures of numpy arrays."""
        most = max(len(each.log_weight) for each in mixtures)
        parts: dict[str, list[Any]] = {"log_weight": [], "mean": [], "factor": [], "whitening": []}
        for log_share, each in zip(log_class, mixtures, strict=True):
            fill = most - len(each.log_weight)
            parts["log_weight"] += [each.log_weight + log_share, np.full(fill, _ABSENT)]
            for field in ("mean", "factor", "whitening"):
                values = getattr(each, field)
                parts[field] += [values, values[:1].repeat(fill, axis=0)]
        arrays = {name: np.concatenate(values).astype(np.float32) for name, values in parts.items()}
        return cls(**arrays, cut=cls.cuts(arrays["log_weight"]), log_class=np.asarray(log_class, np.float32))

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Any], latent_dim: int) -> Self:
        """See the base class."""
        prior = super().from_arrays(arrays, latent_dim)
        if prior.log_class.ndim != 1 or not len(prior.log_class) or len(prior.log_weight) % len(prior.log_class):
            raise ValueError(f"{len(prior.log_weight)} components must be as many for each of the classes")
        return prior

    @property
    def classes(self) -> int:
        """Y."""
        return len(self.log_class)

    def class_of(self, noise: V) -> V:
        """The class that a draw is of: (..., noise_size) → (...)."""
        component: Any = self.component(noise)
        class_of: V = component // (len(self.log_weight) // self.classes)
        return class_of

    def log_joint_of_classes(self, z: V) -> V:
        """Log p(z, y) of every class: (..., D) → (..., Y)."""
        array: Any = self.log_joint(z)
        log_joint: V = log_sum_exp(array.reshape(*array.shape[:-1], self.classes, -1))
        return log_joint

    def of_class(self, index: int) -> GaussianMixture:
        """p(z|y) of one class, in numpy."""
        size = len(self.log_weight) // self.classes
        chosen = slice(index * size, (index + 1) * size)
        log_weight = self.log_weight[chosen] - self.log_class[index]
        fields = {name: getattr(self, name)[chosen] for name in ("mean", "factor", "whitening")}
        return GaussianMixture(log_weight, **fields, cut=self.cuts(log_weight))
