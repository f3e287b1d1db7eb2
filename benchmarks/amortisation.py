"""How much an encoder loses against the best diagonal Gaussian of each image: the amortisation gap.

    python -m benchmarks.amortisation --images IMAGES… --bundles REFERENCE BUNDLE…

With a prior N(0, I), as in training, log p(x) − ELBO has two parts (Cremer et al. 2018, "Inference suboptimality in
variational autoencoders"):

    amortisation     max over μ, σ of ELBO(N(μ, diag σ²)) − ELBO(q(z|x))
    approximation    log p(x) − max over μ, σ of ELBO(N(μ, diag σ²))

The maximum is found for each of the first images by Adam on (μ, log σ), in coordinates in which the posterior at its
mode is isotropic, from two starts: the encoder's q(z|x), and the mode with the curvature there. How far their bounds
are apart shows how far they converged; the better one counts. log p(x) is refined importance sampling. The time is that
of encoder.onnx in ONNX Runtime on one thread, the least over many runs in which the bundles alternate. All bundles are
of the family conv.
"""

import argparse
import math
import time
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from benchmarks.likelihood_estimators import first_images
from benchmarks.results import Ratio, save
from export.bundle.format import ENCODER, Bundle
from export.runtime import refinement
from export.runtime.decoding import Decoding
from export.runtime.device import Device
from export.runtime.encoding import Encoding
from export.runtime.estimates import estimate
from export.runtime.joint import Joint
from export.runtime.session import Session
from vae_core.latents import StandardNormal
from vae_core.latents.diagonal_gaussian import LOG_2PI
from vae_core.likelihoods.base import Array

Images = npt.NDArray[np.uint8]

STEPS, PAIRS = 100, 4
"""Of Adam, and antithetic pairs of draws in each step."""
_RATE, _FIRST, _SECOND = 0.1, 0.9, 0.99  # of Adam
_MEASURED = 256  # draws that a bound is measured with
_SET_DRAWS = 16  # the same for the whole set
_SAMPLES = 330  # importance samples
_TIMED_IMAGES, _ROUNDS = 128, 200


class Found(NamedTuple):
    """What is known of one image, in nats."""

    encoder: float  # ELBO of q(z|x)
    from_encoder: float  # ELBO of the best diagonal Gaussian, found from q(z|x)
    from_mode: float  # the same from the mode
    log_px: float


class Study:
    """The bounds of one bundle."""

    def __init__(self, bundle: Bundle) -> None:
        device = Device("cpu")
        self.encoding = Encoding(bundle, device)
        self.decoding = Decoding(bundle, device)
        self.prior = StandardNormal(bundle.latent_dim)

    def elbo_of_set(self, images: Images) -> Array:
        """ELBO of q(z|x), for each image."""
        random = np.random.default_rng(0)
        found = np.empty(len(images))
        for row, image in enumerate(images):
            q = self.encoding.posterior(image)
            noise = _antithetic(random, _SET_DRAWS // 2, self.prior.noise_size)
            found[row] = self.decoding.log_px_z(image, q.draw(noise)).mean() - self.prior.kl(q)
        return found

    def find(self, image: Images, row: int) -> Found:
        """The bounds of one image."""
        random = np.random.default_rng(row)
        q, joint, size = self.encoding.posterior(image), Joint(image, self.decoding, self.prior), self.prior.noise_size
        proposal = refinement.proposal(joint, q, random.standard_normal((refinement.STARTS - 1, size)))
        samples = proposal.draw(random.standard_normal((_SAMPLES, proposal.noise_size)))
        log_px = estimate(joint.log_prob(samples) - proposal.log_prob(samples)).log_px

        mode = refinement.ascend(joint, np.asarray(q.mean)[None], joint.curvature(q.mean)).z[0]
        curvature = joint.curvature(mode)
        means = np.stack([q.mean, mode])
        log_sigmas = np.stack([0.5 * q.log_variance, -0.5 * np.log(np.diag(curvature))])
        best_means, best_log_sigmas = best_gaussians(joint, means, log_sigmas, curvature, random)
        noise = _antithetic(random, _MEASURED // 2, size)
        bounds = [
            float(joint.log_prob(mean + np.exp(log_sigma) * noise).mean()) + _entropy(log_sigma)
            for mean, log_sigma in zip((q.mean, *best_means), (0.5 * q.log_variance, *best_log_sigmas), strict=True)
        ]
        return Found(*bounds, log_px)


def best_gaussians(
    joint: Joint, means: Array, log_sigmas: Array, curvature: Array, random: np.random.Generator
) -> tuple[Array, Array]:
    """Maximise ELBO(μ, σ) = E[log p(x, z)] + Σ log σ_d + ½ D log 2πe by Adam, from S starts side by side.

    Args:
        joint: log p(x, z) of an image.
        means: μ at the start, [S,D].
        log_sigmas: log σ at the start, [S,D].
        curvature: of −log p(x, z) near the mode, [D,D].
        random: the noise.

    Returns:
        Means and log σ, each [S,D].
    """
    starts, size = means.shape
    whitening = np.linalg.cholesky(np.linalg.inv(curvature))  # z = μ_0 + L m: the posterior is isotropic in m
    moved = np.zeros((2, starts, size))  # m, and how log σ has changed
    first, second = np.zeros_like(moved), np.zeros_like(moved)
    for step in range(STEPS):
        mean, log_sigma = means + moved[0] @ whitening.T, log_sigmas + moved[1]
        noise = _antithetic(random, PAIRS, size)
        draws = mean[:, None] + np.exp(log_sigma)[:, None] * noise  # (S, 2·PAIRS, D)
        slopes = joint.with_gradient(draws.reshape(-1, size))[1].reshape(draws.shape)
        # ∂ELBO/∂μ = E[∇ log p(x, z)], ∂ELBO/∂ log σ = E[∇ log p(x, z) ⊙ σ ⊙ ε] + 1
        gradient = np.stack([slopes.mean(1) @ whitening, (slopes * noise).mean(1) * np.exp(log_sigma) + 1.0])
        first += (1.0 - _FIRST) * (gradient - first)
        second += (1.0 - _SECOND) * (gradient**2 - second)
        rate = _RATE * 0.5 * (1.0 + math.cos(math.pi * step / STEPS))
        scale = np.sqrt(second / (1.0 - _SECOND ** (step + 1))) + 1e-8
        moved += rate * first / (1.0 - _FIRST ** (step + 1)) / scale
    return means + moved[0] @ whitening.T, log_sigmas + moved[1]


def _entropy(log_sigma: Array) -> float:
    return float((log_sigma + 0.5 * (1.0 + LOG_2PI)).sum())


def _antithetic(random: np.random.Generator, pairs: int, size: int) -> Array:
    half = random.standard_normal((pairs, size))
    half /= np.sqrt(np.mean(half**2, axis=0))  # so that a sampled KL equals its closed form
    return np.concatenate([half, -half])


def encoder_times(bundles: list[Bundle], images: Images) -> Array:
    """Processor time of every encoder in µs an image, on one thread."""
    sessions = [Session(bundle.graph(ENCODER), provider="cpu", fuse_layout=True) for bundle in bundles]
    batch = images[np.arange(_TIMED_IMAGES) % len(images)]
    least = np.full(len(sessions), np.inf)
    for _ in range(_ROUNDS):
        for number, session in enumerate(sessions):
            began = time.process_time()
            session.run({"image": batch})
            least[number] = min(least[number], time.process_time() - began)
    return 1e6 * least / len(batch)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", nargs="+", required=True)
    parser.add_argument("--bundles", nargs="+", required=True, help="the first one's encoder is the reference for time")
    parser.add_argument("--count", type=int, default=100, help="images whose best Gaussian is found")
    parser.add_argument("--set", type=int, default=10_000, help="images for the ELBO of the set")
    options = parser.parse_args()
    bundles = [Bundle.open(bundle) for bundle in options.bundles]
    images = first_images(options.images, bundles[0].shape, options.set)
    times = encoder_times(bundles, images)
    print(
        f"| bundle | ELBO, {len(images):,} images | ELBO, {options.count} images | best Gaussian, from the encoder "
        "| from the mode | amortisation | approximation | log p(x) | encoder, µs | ratio |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|")
    ratios: list[Ratio] = []
    each: dict[str, list[Found]] = {}
    for name, bundle, microseconds in zip(options.bundles, bundles, times, strict=True):
        study = Study(bundle)
        whole = study.elbo_of_set(images)
        each[name] = [study.find(image, row) for row, image in enumerate(images[: options.count])]
        encoder, from_encoder, from_mode, log_px = np.array(each[name]).T
        best = np.maximum(from_encoder, from_mode)
        gap = best - encoder
        error = gap.std(ddof=1) / len(gap) ** 0.5
        ratio = microseconds / times[0]
        print(
            f"| {name} | {whole.mean():.2f} | {encoder.mean():.2f} | {from_encoder.mean():.2f} "
            f"| {from_mode.mean():.2f} | {gap.mean():.1f} ± {error:.1f} | {(log_px - best).mean():.1f} "
            f"| {log_px.mean():.2f} | {microseconds:.1f} | {ratio:.2f} |",
            flush=True,
        )
        ratios.append(Ratio(f"{name}: amortisation gap", float(gap.mean()), 23.0, "nats", "<= 1.00", "allowed"))
        ratios.append(
            Ratio(f"{name}: encoder's time", float(microseconds), float(times[0]), "µs", "<= 1.30", options.bundles[0])
        )
    save("amortisation", ratios, images={name: [one._asdict() for one in found] for name, found in each.items()})


if __name__ == "__main__":
    main()
