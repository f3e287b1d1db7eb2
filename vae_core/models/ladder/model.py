"""The ladder: a hierarchical VAE of 8-bit images x, whose latent vector u is the noise of its prior."""

from dataclasses import replace

import torch
from torch import Tensor

from vae_core.batch import IMAGE, Batch
from vae_core.latents.base import Draw
from vae_core.latents.standard_normal import StandardNormal
from vae_core.likelihoods import likelihood
from vae_core.models.ladder.config import LadderConfig
from vae_core.models.ladder.posterior import LadderPosterior
from vae_core.models.pixels import PixelModel, as_levels
from vae_core.networks.causal import CONTEXT, CausalLayer
from vae_core.networks.ladder import BottomUp, TopDown
from vae_core.outliers.groups import Group, Statistic
from vae_core.outliers.innovations import INNOVATIONS, innovation_statistics
from vae_core.outliers.pixel_statistics import pixel_groups, pixel_statistics, pixel_surprise
from vae_core.outputs import Output

_LEAST_KL = 0.1  # nats, added before the logarithm: a level may carry nothing
# Smallest scale of a code and of such a logarithm: differences in what says nothing must not be magnified.
_LEAST_SCALE = 0.1
_COARSEST = "coarsest_mean"


class LadderVAE(PixelModel):
    """A hierarchical VAE. Images are grey levels 0…255, uint8 or float, (N, C, H, W)."""

    config: LadderConfig
    has_diagonal_posterior = False
    has_fitted_prior = False  # a covariance of all levels' numbers would be too large
    code_tolerance = 1e-4  # many layers deep

    def __init__(self, config: LadderConfig) -> None:
        super().__init__()
        assert config.image_shape != (0, 0, 0), "the image shape must be set before the network is built"
        self.config = config
        self.likelihood = likelihood(config.likelihood)
        self.bottom_up = BottomUp(config)
        raw_channels = self.likelihood.raw_channels(config.image_shape[0])
        layer = (config.causal, config.image_shape[0], raw_channels, config.causal_width)
        self.causal = CausalLayer(*layer) if config.causal else None
        self.top_down = TopDown(config, raw_channels + (CONTEXT if config.causal else 0))
        self.noise_size = sum(self.top_down.latents)

    def prior(self, batch: Batch) -> StandardNormal:
        """N(0, I)."""
        del batch
        return StandardNormal(self.noise_size)

    def posterior(self, batch: Batch) -> LadderPosterior:
        """q(u|x), level by level."""
        return LadderPosterior(self.top_down, self.bottom_up(as_levels(batch[IMAGE]) * (2.0 / 255.0) - 1.0))

    def decode_raw(self, z: Tensor) -> Tensor:
        """See the base class."""
        raw: Tensor = self.top_down(z)
        return raw

    def raw_at_mean(self, batch: Batch) -> Tensor:
        """See the base class: the posterior's top-down pass made it."""
        return self.posterior(batch).mean_path.raw

    def sample_posterior(self, batch: Batch, posterior: LadderPosterior, noise: Tensor) -> tuple[Draw[Tensor], Tensor]:
        """See the base class: drawing and decoding are one top-down pass."""
        path = posterior.path(noise)
        draw = Draw(path.z, path.given.log_prob_of_draw(noise), path.given)
        return draw, self.log_px_raw(as_levels(batch[IMAGE]), path.raw)

    @property
    def statistic_groups(self) -> tuple[Group, ...]:
        """The likelihood-path statistics, what each level carries, the code of the coarsest level, and innovations."""
        path, code = pixel_groups(self.nats_scale)
        coarsest = Output(_COARSEST, "mean of q(z|x) at the coarsest level", "1", tolerance=self.code_tolerance)
        (statistic,) = code.statistics
        meaning = "log density of that mean's coarsest level among those of in-distribution images"
        code = replace(
            code,
            is_code=False,
            least_scale=_LEAST_SCALE,
            vector=coarsest,
            statistics=(replace(statistic, meaning=meaning),),
        )
        levels = Group(
            name="levels",
            meaning="the information of each level",
            weight=1.0,
            least_scale=_LEAST_SCALE,
            statistics=tuple(map(_log_kl, range(1, 1 + len(self.config.widths)))),
        )
        return path, levels, code, *([] if self.causal is None else [INNOVATIONS])

    def statistics(self, batch: Batch) -> dict[str, Tensor]:
        """See the base class: one bottom-up and one top-down pass."""
        path, prior, level = self.posterior(batch).mean_path, self.prior(batch), as_levels(batch[IMAGE])
        given = self.parameters_given(level, path.raw)
        mean = None if self.causal is None else self.likelihood.mean(self.parameters_before(path.raw))
        found = pixel_statistics(level, prior, path.given, given, self.likelihood, mean)
        if self.causal is not None:
            surprise = pixel_surprise(self.likelihood, level, given)
            found |= innovation_statistics(level, given, surprise, self.likelihood)
        kl = self.top_down.split(prior.kl_per_dimension(path.given))
        carried = {_log_kl(number).name: torch.log(each.sum(1) + _LEAST_KL) for number, each in enumerate(kl, start=1)}
        return {**found, **carried, _COARSEST: path.z[:, : self.top_down.latents[0]]}


def _log_kl(level: int) -> Statistic:
    return Statistic(
        name=f"log_kl_level_{level}",
        meaning=f"log of the KL of level {level}, 1 the coarsest, given the means of the coarser levels",
        unit="log nats",
        aspect="latent code",
        high=f"level {level} of its latent code carries {{}} more information than usual",
        low=f"level {level} of its latent code carries {{}} less information than usual",
        tolerance=1e-4,
    )
