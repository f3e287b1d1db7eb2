"""Priors and posteriors over latent vectors. All log densities are in nats."""

from vae_core.latents.base import Draw, Posterior, Prior
from vae_core.latents.class_mixture import ClassMixture
from vae_core.latents.gaussian_mixture import GaussianMixture
from vae_core.latents.standard_normal import StandardNormal

PRIORS: dict[str, type[Prior]] = {prior.name: prior for prior in (StandardNormal, GaussianMixture, ClassMixture)}

__all__ = ["PRIORS", "ClassMixture", "Draw", "GaussianMixture", "Posterior", "Prior", "StandardNormal"]
