"""A proposal for importance sampling: Gaussians at the modes of log p(x, z), with Gauss–Newton curvature.

An encoder's q(z|x) is far from p(z|x), mostly because its mean is off, so that hardly any draw from it counts. The mode
and the curvature H at it give the Laplace approximation N(mode, H⁻¹) (Park et al. 2019, "Variational Laplace
autoencoders"), used here as a proposal, so that the estimate needs no assumption about the posterior:

1. H at the encoder's mean: the likelihood's Fisher information, JᵀFJ, plus the precision of the prior.
2. From that mean, and from draws around it wide enough to reach other modes, BFGS ascents that start with H⁻¹. The
   first step of each is a Gauss–Newton step.
3. The modes that differ become a mixture of N(mode, H⁻¹), weighted by their Laplace evidence p(x, mode) |H|^−½.

For a linear decoder with a Gaussian likelihood of known scale the proposal is the posterior.
"""

from typing import NamedTuple

import numpy as np

from export.runtime.decoding import WITH_GRADIENT
from export.runtime.joint import Joint
from vae_core.latents import GaussianMixture
from vae_core.latents.base import Posterior
from vae_core.likelihoods.base import Array

STARTS = 3
"""Ascents for each image: one from the encoder's mean, the others from draws of q(z|x)."""
STEPS = 12
"""Steps of each ascent, at most."""
_SPREAD = 3.0  # of the other starts, in standard deviations of q(z|x)
_APART = 3.5  # two modes closer than this, in standard deviations, are one
_LEAST = 20.0  # nats below the best mode at which a mode is left out
_FLOOR = 3.0  # nats of Laplace evidence below the best from which on no mode's weight falls further
_ENOUGH = 1e-3  # nats
_BACK = 0.35  # by which a step that did not ascend is shortened


def decodes(latent_dim: int) -> int:
    """The most decodes that `proposal` takes for D latent variables."""
    return (1 + STARTS) * (latent_dim + 1) + WITH_GRADIENT * STARTS * (STEPS + 1)


def proposal(joint: Joint, posterior: Posterior, noise: Array) -> GaussianMixture:
    """The proposal for one image.

    Args:
        joint: its log p(x, z).
        posterior: its q(z|x).
        noise: ~ N(0, I), [STARTS − 1, noise_size].
    """
    mean: Array = posterior.mean
    curvature = joint.curvature(mean)
    starts = np.concatenate([mean[None], posterior.draw(_SPREAD * noise)])
    found = ascend(joint, starts, curvature)
    order = np.argsort(-found.log_prob)
    modes: list[Array] = []
    curvatures: list[Array] = []
    log_evidence: list[float] = []
    for mode, log_prob in zip(found.z[order], found.log_prob[order], strict=True):
        if modes and log_prob < found.log_prob[order[0]] - _LEAST:
            break
        steps = [mode - other for other in modes]
        if any(s @ h @ s < _APART**2 for s, h in zip(steps, curvatures, strict=True)):
            continue
        curvature = joint.curvature(mode)
        modes.append(mode)
        curvatures.append(curvature)
        log_evidence.append(float(log_prob) - 0.5 * float(np.linalg.slogdet(curvature)[1]))
    return GaussianMixture.of(
        log_weight=np.maximum(np.array(log_evidence), max(log_evidence) - _FLOOR),
        mean=np.stack(modes),
        covariance=np.linalg.inv(np.stack(curvatures)),
    )


class Ascents(NamedTuple):
    """Where ascents ended."""

    z: Array  # [S,D]
    log_prob: Array  # log p(x, z), [S]


def ascend(joint: Joint, starts: Array, curvature: Array) -> Ascents:
    """BFGS ascents on log p(x, z) from starts [S,D], side by side, so that a step decodes S latent vectors at once.

    The inverse Hessian starts as that of `curvature` [D,D] and takes the BFGS update (Nocedal and Wright 2006, section
    6.1). Every trial is a step: one that does not ascend is shortened and tried again. An ascent ends where the next
    step promises less than `_ENOUGH`.
    """
    z = starts.copy()
    inverse = np.repeat(np.linalg.inv(curvature)[None], len(z), axis=0)
    value, gradient = joint.with_gradient(z)
    scale = np.ones(len(z))
    for _ in range(STEPS):
        step = scale[:, None] * (inverse @ gradient[..., None])[..., 0]
        (moving,) = np.nonzero(0.5 * (step * gradient).sum(axis=1) > _ENOUGH)
        if len(moving) == 0:
            break
        there, new_gradient = joint.with_gradient(z[moving] + step[moving])
        for place, i in enumerate(moving):
            if not there[place] > value[i]:
                scale[i] *= _BACK
                continue
            inverse[i] = _updated(inverse[i], step[i], gradient[i] - new_gradient[place])
            z[i], value[i], gradient[i], scale[i] = z[i] + step[i], there[place], new_gradient[place], 1.0
    return Ascents(z, value)


def _updated(inverse: Array, step: Array, change: Array) -> Array:
    """The BFGS update of the inverse Hessian of −log p, from a step and by how much the gradient fell along it."""
    along = float(step @ change)
    if along <= 1e-10 * np.linalg.norm(step) * np.linalg.norm(change):  # not convex there: it would become indefinite
        return inverse
    keep = np.eye(len(step)) - np.outer(step, change) / along
    updated: Array = keep @ inverse @ keep.T + np.outer(step, step) / along
    return updated
