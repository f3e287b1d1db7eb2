"""Annealed importance sampling with Hamiltonian transitions (Neal 2001; Wu et al. 2017): the most reliable estimate.

Between a proposal q, from which draws are easy, and p(x, z) lie the distributions

    log π_β(z) = (1 − β) log q(z) + β log p(x, z),    0 = β_0 < β_1 < … < β_T = 1

A chain starts from q and takes a transition at each β_1, …, β_{T−1} that leaves π_β invariant. Its weight
Π_t π_{β_t}(z_{t−1}) / π_{β_{t−1}}(z_{t−1}) has the mean p(x), so the log of the chains' mean weight is a lower bound on
log p(x) in expectation. The same chain backwards, from an exact draw of p(z|x), has a weight of mean 1/p(x), and gives
an upper bound (Grosse, Ghahramani and Adams 2015). Exact draws exist where the image itself was drawn from the model:
on such images the gap between the bounds certifies both.

A transition is one Hamiltonian trajectory of `LEAPFROG` steps, accepted by Metropolis's rule, with the metric of the
proposal's likeliest component. Step sizes, one for each β, come from a pilot run of its own noise and are then fixed,
which keeps the weights unbiased.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from export.runtime.estimates import Array
from export.runtime.joint import Joint
from vae_core.errors import UserError
from vae_core.latents import GaussianMixture

LEAPFROG = 2
ACCEPTANCE = 0.65
"""The acceptance that the pilot run steers step sizes to (Beskos et al. 2013)."""
_FIRST_STEP, _GAIN = 0.6, 0.2  # in standard deviations of the proposal; of log step size for each unit of acceptance


@dataclass(frozen=True)
class Annealing:
    """The budget of annealed importance sampling."""

    chains: int = 16
    """Chains for each image."""
    temperatures: int = 100
    """T, steps from the proposal to the posterior."""
    pilot: int = 4
    """Chains of the run that chooses step sizes."""

    def __post_init__(self) -> None:
        for name, least in (("chains", 2), ("temperatures", 1), ("pilot", 1)):
            if (value := getattr(self, name)) < least:
                raise UserError(f"{name} must be at least {least}, got {value}")


class Randomness(NamedTuple):
    """Where a run's random numbers come from. Every step asks once, in order."""

    normal: Callable[[int, int], Array]  # (step, n) → [n], standard normal
    uniform: Callable[[int, int], Array]  # (step, n) → [n], in (0, 1)


class _State(NamedTuple):
    """Chains: where they are, and both log densities and gradients there."""

    z: Array  # [P,D]
    log_joint: Array
    joint_gradient: Array
    log_q: Array
    q_gradient: Array

    def tempered(self, beta: float) -> tuple[Array, Array]:
        """Log π_β and its gradient."""
        return (
            (1.0 - beta) * self.log_q + beta * self.log_joint,
            (1.0 - beta) * self.q_gradient + beta * self.joint_gradient,
        )


class Annealer:
    """Runs the chains of one image."""

    def __init__(self, joint: Joint, proposal: GaussianMixture, temperatures: int) -> None:
        """Take log p(x, z), the distribution to start from, and T."""
        self._joint, self._proposal = joint, proposal
        self._factor: Array = proposal.factor[int(np.argmax(proposal.log_weight))]
        self._betas = np.linspace(0.0, 1.0, temperatures + 1)
        self._steps = np.full(temperatures + 1, _FIRST_STEP)

    def pilot(self, chains: int, random: Randomness) -> None:
        """Choose the step sizes by a forward run of its own."""
        state = self._start(chains, random)
        for t in range(1, len(self._betas) - 1):
            state, accepted = self._transition(state, t, random)
            self._steps[t + 1 :] = self._steps[t] * math.exp(_GAIN * (accepted - ACCEPTANCE))

    def forward(self, chains: int, random: Randomness) -> Array:
        """Log-weights of chains from the proposal, of mean p(x): [P]."""
        state = self._start(chains, random)
        log_weights = np.zeros(chains)
        for t in range(1, len(self._betas)):
            log_weights += (self._betas[t] - self._betas[t - 1]) * (state.log_joint - state.log_q)
            if t < len(self._betas) - 1:
                state, _ = self._transition(state, t, random)
        return log_weights

    def reverse(self, z: Array, chains: int, random: Randomness) -> Array:
        """Log-weights of chains from one exact draw z [D] of p(z|x), exp(−log-weight) having the mean 1/p(x): [P]."""
        state = self._at(np.repeat(z[None], chains, axis=0))
        log_weights = np.zeros(chains)
        for t in range(len(self._betas) - 1, 0, -1):
            if t < len(self._betas) - 1:
                state, _ = self._transition(state, t, random)
            log_weights += (self._betas[t] - self._betas[t - 1]) * (state.log_joint - state.log_q)
        return log_weights

    def _start(self, chains: int, random: Randomness) -> _State:
        noise = random.normal(0, chains * self._proposal.noise_size)
        return self._at(self._proposal.draw(noise.reshape(chains, -1)))

    def _at(self, z: Array) -> _State:
        return _State(z, *self._joint.with_gradient(z), self._proposal.log_prob(z), self._proposal.gradient(z))

    def _transition(self, state: _State, t: int, random: Randomness) -> tuple[_State, float]:
        """One trajectory of every chain at β_t, and the mean probability with which it was accepted."""
        beta, step = self._betas[t], self._steps[t]
        log_prob, gradient = state.tempered(beta)
        momentum = random.normal(t, state.z.size).reshape(state.z.shape)
        energy = 0.5 * (momentum**2).sum(axis=1) - log_prob
        there = state
        for _ in range(LEAPFROG):
            momentum = momentum + 0.5 * step * gradient @ self._factor
            there = self._at(there.z + step * momentum @ self._factor.T)
            log_prob, gradient = there.tempered(beta)
            momentum = momentum + 0.5 * step * gradient @ self._factor
        change = energy - (0.5 * (momentum**2).sum(axis=1) - log_prob)
        probability = np.exp(np.minimum(np.nan_to_num(change, nan=-np.inf), 0.0))
        accepted = random.uniform(t, len(probability)) < probability
        kept = (
            np.where(accepted.reshape(-1, *[1] * (new.ndim - 1)), new, old)
            for new, old in zip(there, state, strict=True)
        )
        return _State(*kept), float(probability.mean())
