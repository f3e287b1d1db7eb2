"""The posterior of a ladder: Gaussians level by level, each given the draws of the coarser levels."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from torch import Tensor

from vae_core.latents.base import Draw
from vae_core.latents.diagonal_gaussian import DiagonalGaussian
from vae_core.networks.ladder import Path, TopDown


@dataclass(frozen=True)
class LadderPosterior:
    """q(u|x) = Π_l N(u_l; m_l(x, u_<l), diag s_l²(x, u_<l)), one distribution per image."""

    top_down: TopDown
    features: Sequence[Tensor]
    """Of N images, as `BottomUp` makes them."""
    repeated: bool = False
    """Whether draws have an axis for samples: see `with_samples`."""

    @property
    def noise_size(self) -> int:
        """Standard normal numbers per draw: D."""
        return sum(self.top_down.latents)

    @cached_property
    def mean_path(self) -> Path:
        """The top-down pass in which every level takes its mean: deterministic, and the `mean` of this posterior."""
        return self.top_down.path(self.features, None)

    @property
    def mean(self) -> Tensor:
        """The means of the levels, each given the means of the coarser ones: (N, D)."""
        return self.mean_path.z

    @property
    def at_mean(self) -> DiagonalGaussian:
        """Every latent variable given the means of the coarser levels, each (N, D)."""
        return self.mean_path.given

    def path(self, noise: Tensor) -> Path:
        """A top-down pass with noise ~ N(0, I), (N, D), or (D,) for the same noise in every image."""
        assert not self.repeated
        return self.top_down.path(self.features, noise.expand(self.features[0].shape[0], noise.shape[-1]))

    def sample(self, noise: Tensor) -> Draw[Tensor]:
        """A draw with its log density: (N, D), or (N, K, D) with an axis for samples."""
        if not self.repeated:
            path = self.path(noise)
            # log q(u|x) = Σ_l log N(u_l; m_l, s_l²), u_l = m_l + s_l ⊙ ε_l
            return Draw(path.z, path.given.log_prob_of_draw(noise), path.given)
        images, (samples, size) = self.features[0].shape[0], noise.shape[-2:]
        flat = noise.expand(images, samples, size).reshape(-1, size)
        one = replace(self, features=[each.repeat_interleave(samples, dim=0) for each in self.features], repeated=False)
        z, log_q, (mean, log_variance) = one.sample(flat)
        given = DiagonalGaussian(*(value.reshape(-1, samples, size) for value in (mean, log_variance)))
        return Draw(z.reshape(-1, samples, size), log_q.reshape(-1, samples), given)

    def draw(self, noise: Tensor) -> Tensor:
        """The latent vectors of `sample`."""
        return self.sample(noise).z

    def log_prob_of_draw(self, noise: Tensor) -> Tensor:
        """Log q(u|x) at u = `draw(noise)`."""
        return self.sample(noise).log_q

    def with_samples(self) -> "LadderPosterior":
        """The same distributions with an axis for samples: draws are (N, K, D) for noise (K, D)."""
        return replace(self, repeated=True)
