"""`LikelihoodEstimator`: log p(x) under a bundle's model with fresh noise, a function of (bundle, seed, row) alone.

Likelihood.onnx has constant noise, the same for every image: good for comparing images, useless for the Monte Carlo
error of a mean. Here every image has its own noise: the estimates are independent, so that their spread over images is
a valid standard error. By name:

- elbo: (1/K) Σ_k log p(x|z_k) − KL(q(z|x) ‖ p(z)), z_k ~ q(z|x), the KL in closed form where the bundle's prior has
  one, of each level given the draws of those before, else the mean of log q(z_k|x) − log p(z_k)
- importance: log (1/K) Σ_k w_k with w_k = p(x|z_k) p(z_k) / q(z_k|x), of the same z_k
- monte-carlo: log (1/K) Σ_k w_k with w_k = p(x|z_k), z_k ~ p(z)
- refined: as importance, with a proposal fitted to the image in place of q(z|x); see `export.runtime.refinement`
- annealed: annealed importance sampling from that proposal; see `export.runtime.annealing`
"""

from collections.abc import Collection, Iterator
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from export.bundle.format import Bundle
from export.runtime import refinement
from export.runtime.annealing import Annealer, Annealing, Randomness
from export.runtime.decoding import Decoding
from export.runtime.device import Device, Provider
from export.runtime.encoding import Encoding
from export.runtime.estimates import Array, Estimate, estimate
from export.runtime.joint import Joint
from vae_core.binarisation import drawn
from vae_core.latents import GaussianMixture
from vae_core.latents.base import Posterior
from vae_core.noise import Purpose, standard_normal, uniform

ESTIMATORS = ("elbo", "importance", "monte-carlo", "refined", "annealed")
"""The names of all estimators, cheapest first."""
SAMPLING = ("elbo", "importance", "monte-carlo")
"""Those that need no gradient of the decoder."""
REFINED_SAMPLES = 330
"""Importance samples of `refined`, which with its proposal take fewer than 600 decodes for 32 latent variables."""

# Streams of `Purpose.ANNEAL`, by the upper bits of its epoch.
_PILOT, _FORWARD, _REVERSE = 0, 1 << 20, 2 << 20


class Elbo(NamedTuple):
    """The evidence lower bound of one image, in nats."""

    value: float  # reconstruction − kl
    variance: float  # of that estimate over draws of the noise
    reconstruction: float  # E_q[log p(x|z)], estimated
    reconstruction_variance: float  # of that estimate
    kl: float  # KL(q(z|x) ‖ p(z)), exact where it has a closed form, else estimated from the same draws


class ImageLikelihood(NamedTuple):
    """The likelihood of one image under the model, in nats; None for what was not asked for."""

    elbo: Elbo | None = None
    importance: Estimate | None = None
    monte_carlo: Estimate | None = None
    refined: Estimate | None = None
    annealed: Estimate | None = None


class Certificate(NamedTuple):
    """Both bounds of one image that was drawn from the model, in nats; see `export.runtime.annealing`."""

    forward: Estimate  # in expectation at most log p(x)
    reverse: Estimate  # of −log 1/p(x); in expectation at least log p(x)


def require_estimators(bundle: Bundle, estimators: Collection[str], option: str) -> None:
    """Raise a UserError, which begins with `option`, unless the bundle has what the estimators need."""
    bundle.require_images(option)
    if needing := [name for name in estimators if name not in SAMPLING]:
        bundle.require_gradient(f"{option} {needing[0]}")


class LikelihoodEstimator:
    """Estimates log p(x). One object per thread."""

    def __init__(
        self,
        bundle: Bundle | str,
        *,
        samples: int = 1000,
        seed: int = 0,
        provider: Provider | Device = "auto",
        annealing: Annealing | None = None,
        bundle_hash: str | None = None,
    ) -> None:
        """Open a bundle.

        Args:
            bundle: an opened bundle, or its path or URL.
            samples: K ≥ 2, decoded once from the posterior and once from the prior.
            seed: of all noise, 0 ≤ seed < 2⁶³.
            provider: where to run, or a device; always on one CPU thread. The attribute `provider` is where it
                actually runs.
            annealing: the budget of annealed, if not the default.
            bundle_hash: see `Scorer`.
        """
        self.bundle = Bundle.of(bundle, bundle_hash)
        self.bundle.require_images("estimating log p(x)")
        self.samples, self._seed = samples, seed
        # One thread: how a sum is split decides its last bit.
        sessions = 2 + self.bundle.has_gradient + self.bundle.is_hierarchical
        device = replace(Device.of(provider).shared_by(sessions), threads=1)
        self._encoding = Encoding(self.bundle, device)
        self._decoding = Decoding(self.bundle, device)
        self._annealing = annealing or Annealing()
        # In float64, as log densities are summed here.
        arrays = {name: values.astype(np.float64) for name, values in self.bundle.prior.to_arrays().items()}
        self._prior = type(self.bundle.prior).from_arrays(arrays, self.bundle.latent_dim)
        self.provider = self._decoding.provider

    def estimate(
        self, image: npt.NDArray[np.uint8], row: int, estimators: Collection[str] = SAMPLING
    ) -> ImageLikelihood:
        """The likelihood of `image`, uint8 [C,H,W], with the noise of `row`, by the named estimators.

        Under a model of binarised images it is that of one draw of the image, the same for all estimators.

        Raises:
            UserError: refined or annealed is named, and the bundle has no gradient.
        """
        image = self._seen(image)
        if self.bundle.is_binarised:
            image = drawn(image[None], [row], self._seed, Purpose.BINARISE_EVALUATE)[0]
        posterior = self._encoding.posterior(image)
        found = ImageLikelihood()
        if "elbo" in estimators or "importance" in estimators:
            elbo, importance = self._from_posterior(image, row, posterior)
            found = found._replace(elbo=elbo if "elbo" in estimators else None)
            found = found._replace(importance=importance if "importance" in estimators else None)
        if "monte-carlo" in estimators:
            found = found._replace(monte_carlo=self._from_prior(image, row))
        if "refined" in estimators or "annealed" in estimators:
            require_estimators(self.bundle, estimators, "the estimator")
            joint = Joint(image, self._decoding, self._prior)
            before = self._decoding.decodes
            proposal = self._proposal(joint, row, posterior)
            setup = self._decoding.decodes - before
            if "refined" in estimators:
                found = found._replace(refined=self._refined(joint, row, proposal, setup))
            if "annealed" in estimators:
                annealer = Annealer(joint, proposal, self._annealing.temperatures)
                found = found._replace(annealed=self._annealed(annealer, row, setup))
        return found

    def certify(self, index: int) -> Certificate:
        """Bounds on log p(x) from both sides, of image `index` that the model draws: z from its prior, x from p(x|z).

        Strict for a `mass`, whose draws are 8-bit images. Draws from a `density` are rounded to grey levels, and with
        a region of interest pixels outside are replaced, so that z is then only nearly a draw of p(z|x).

        Raises:
            UserError: the bundle has no gradient.
        """
        self.bundle.require_gradient("a certificate")
        noise = standard_normal(self._seed, Purpose.CERTIFY, [index], self._prior.noise_size)[0]
        z = self._prior.draw(noise.astype(np.float64))
        image = self._seen(self._decoding.draw(z, index, self._seed))
        joint = Joint(image, self._decoding, self._prior)
        before = self._decoding.decodes
        proposal = self._proposal(joint, index, self._encoding.posterior(image))
        annealer = Annealer(joint, proposal, self._annealing.temperatures)
        forward = self._annealed(annealer, index, self._decoding.decodes - before)
        before = self._decoding.decodes
        backward = annealer.reverse(z, self._annealing.chains, self._random(index, _REVERSE))
        spent = self._decoding.decodes - before
        of_inverse = estimate(-backward, spent)  # log 1/p(x), too low in expectation
        return Certificate(
            forward,
            of_inverse._replace(log_px=-of_inverse.log_px, bias=-of_inverse.bias, bounds=-of_inverse.bounds),
        )

    def _seen(self, image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """The image as the graphs see it: those of its pixels that count, with a region of interest."""
        return image if self.bundle.region is None else self.bundle.region.apply(image[None])[0]

    def _from_posterior(self, image: npt.NDArray[np.uint8], row: int, posterior: Posterior) -> tuple[Elbo, Estimate]:
        reconstruction, log_ratio, kl = np.empty((3, self.samples))
        for here, noise in self._noise(Purpose.EVALUATE_POSTERIOR, row, self.samples, posterior.noise_size):
            z, log_q, given = posterior.sample(noise)
            reconstruction[here] = self._decoding.log_px_z(image, z)
            log_ratio[here] = self._prior.log_prob(z) - log_q
            # A diagonal Gaussian's is the same for all draws.
            kl[here] = self._prior.kl(given) if self._prior.has_closed_kl else -log_ratio[here]
        bound = reconstruction - kl
        elbo = Elbo(
            value=float(reconstruction.mean()) - float(kl.mean()),
            variance=float(bound.var(ddof=1) / self.samples),
            reconstruction=float(reconstruction.mean()),
            reconstruction_variance=float(reconstruction.var(ddof=1) / self.samples),
            kl=float(kl.mean()),
        )
        return elbo, estimate(reconstruction + log_ratio)

    def _from_prior(self, image: npt.NDArray[np.uint8], row: int) -> Estimate:
        log_weights = np.empty(self.samples)
        for here, noise in self._noise(Purpose.EVALUATE_PRIOR, row, self.samples, self._prior.noise_size):
            log_weights[here] = self._decoding.log_px_z(image, self._prior.draw(noise))
        return estimate(log_weights)

    def _proposal(self, joint: Joint, row: int, posterior: Posterior) -> GaussianMixture:
        count, size = refinement.STARTS - 1, posterior.noise_size
        noise = standard_normal(self._seed, Purpose.REFINE_STARTS, [row], count * size)
        return refinement.proposal(joint, posterior, noise.reshape(count, size).astype(np.float64))

    def _refined(self, joint: Joint, row: int, proposal: GaussianMixture, setup: int) -> Estimate:
        log_weights = np.empty(REFINED_SAMPLES)
        for here, noise in self._noise(Purpose.REFINE, row, REFINED_SAMPLES, proposal.noise_size):
            z = proposal.draw(noise)
            log_weights[here] = joint.log_prob(z) - proposal.log_prob(z)
        return estimate(log_weights, setup + REFINED_SAMPLES, setup)

    def _annealed(self, annealer: Annealer, row: int, setup: int) -> Estimate:
        before = self._decoding.decodes
        annealer.pilot(self._annealing.pilot, self._random(row, _PILOT))
        setup += self._decoding.decodes - before
        before = self._decoding.decodes
        log_weights = annealer.forward(self._annealing.chains, self._random(row, _FORWARD))
        return estimate(log_weights, setup + self._decoding.decodes - before, setup)

    def _random(self, row: int, stream: int) -> Randomness:
        def normal(step: int, size: int) -> Array:
            drawn: Array = standard_normal(self._seed, Purpose.ANNEAL, [row], size, stream + step)[0].astype(np.float64)
            return drawn

        def chances(step: int, size: int) -> Array:
            drawn: Array = uniform(self._seed, Purpose.ANNEAL_ACCEPT, [row], size, stream + step)[0]
            return drawn

        return Randomness(normal, chances)

    def _noise(self, purpose: Purpose, row: int, samples: int, size: int) -> Iterator[tuple[slice, Array]]:
        """Noise of all samples, float64 [≤ `at_once`, size] at a time, and its position among them."""
        at_once = min(self._decoding.at_once, samples)
        for block, start in enumerate(range(0, samples, at_once)):
            count = min(at_once, samples - start)
            noise = standard_normal(self._seed, purpose, [row], count * size, epoch=block)
            yield slice(start, start + count), noise.reshape(count, size).astype(np.float64)
