"""The interfaces of a prior p(z) and a posterior q(z|x), for torch tensors and numpy arrays.

Both define the noise that a draw uses, how to draw, and their log density; the prior also defines its KL from a
posterior, where that has a closed form. No other code assumes that latent vectors are Gaussian.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Generic, NamedTuple, Protocol, Self, TypeVar

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from vae_core.latents.diagonal_gaussian import DiagonalGaussian

V = TypeVar("V")  # a torch tensor or a numpy array; results are of the same kind
FloatArrays = dict[str, npt.NDArray[np.float32]]


class Draw(NamedTuple, Generic[V]):
    """A draw z ~ q(z|x)."""

    z: V  # (..., D)
    log_q: V  # log q(z|x) in nats, (...)
    given: "DiagonalGaussian"  # q of each latent variable given the x and the z that were drawn before it, (..., D)


class Posterior(Protocol):
    """A distribution q(z|x) for each image of a batch.

    Its latent variables may be drawn one level after the other, each from a Gaussian that depends on the levels before.
    """

    @property
    def noise_size(self) -> int:
        """Standard normal numbers that a draw of z takes."""
        ...

    @property
    def mean(self) -> Any:
        """E[z|x], of levels each given the means of those before: (N, D)."""
        ...

    @property
    def at_mean(self) -> "DiagonalGaussian":
        """The Gaussian of each latent variable, of levels each given the means of those before: (N, D)."""
        ...

    def draw(self, noise: Any) -> Any:
        """A reparameterised draw from noise ~ N(0, I): (..., noise_size) → (..., D)."""
        ...

    def sample(self, noise: Any) -> Draw[Any]:
        """`draw(noise)` with its log density, which are found together: noise (..., noise_size)."""
        ...

    def with_samples(self) -> "Posterior":
        """The same distributions with an axis for samples: (N, D) → (N, 1, D)."""
        ...


class Prior(ABC):
    """A distribution p(z) of latent vectors of D numbers."""

    name: ClassVar[str]
    """Its name in `--prior` and the manifest."""
    has_closed_kl: ClassVar[bool]
    """Whether `kl_per_dimension` exists."""

    @property
    @abstractmethod
    def latent_dim(self) -> int:
        """D."""

    @property
    def noise_size(self) -> int:
        """Standard normal numbers that a draw of z takes."""
        return self.latent_dim

    @abstractmethod
    def draw(self, noise: V) -> V:
        """Z ~ p(z) from noise ~ N(0, I): (..., noise_size) → (..., D)."""

    def tempered(self, noise: V, temperature: float) -> V:
        """The noise whose draw has covariances temperature² times those of p(z): (..., noise_size), likewise.

        In a mixture they are those of its components, which are selected as before. Below one, samples lie nearer to
        where p(z) is high; at one the noise is unchanged, to the bit.
        """
        array: Any = noise
        scaled: V = array * temperature
        return scaled

    @abstractmethod
    def log_prob(self, z: V) -> V:
        """Log p(z) in nats: (..., D) → (...)."""

    @abstractmethod
    def gradient(self, z: Any) -> Any:
        """∇ log p(z): (..., D) → (..., D)."""

    @abstractmethod
    def precision(self, z: Any) -> Any:
        """A positive definite stand-in for −∇² log p(z), which may be indefinite: (D,) → (D, D)."""

    def kl_per_dimension(self, posterior: Any) -> Any:
        """KL(q(z|x) ‖ p(z)) in nats per latent variable, which sum to the KL: (N, D)."""
        raise NotImplementedError(f"KL(q ‖ p) has no closed form for the prior '{self.name}': average log q − log p")

    def kl(self, posterior: Any) -> Any:
        """KL(q(z|x) ‖ p(z)) in nats: (N,)."""
        return self.kl_per_dimension(posterior).sum(-1)

    @abstractmethod
    def to_arrays(self) -> FloatArrays:
        """The parameters, by name, as a bundle stores them."""

    @classmethod
    @abstractmethod
    def from_arrays(cls, arrays: Mapping[str, Any], latent_dim: int) -> Self:
        """The inverse of `to_arrays` for D latent variables; with torch tensors, the prior computes in torch.

        Raises:
            KeyError: an array is missing.
            ValueError: arrays do not fit together.
        """
