"""How far estimators of log p(x) are from the truth, and what they cost.

    python -m benchmarks.likelihood_estimators --bundle BUNDLE --images IMAGES… --cache DIR

The truth is annealed importance sampling with a larger budget: 150 temperatures, 16 chains, 8 starts. It is certified
on images drawn from the model, where annealing bounds log p(x) from both sides. All in ONNX Runtime on one thread, over
the first test images, images per second of its processor time; finished stages are kept in the cache.
"""

import argparse
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmarks.results import Ratio, save
from export.bundle.format import Bundle
from export.images.contract import ImageContract
from export.runtime import likelihood, refinement
from export.runtime.annealing import Annealing
from export.runtime.estimates import Estimate
from export.runtime.likelihood import ImageLikelihood, LikelihoodEstimator
from jobs.images.reader import read_images
from jobs.images.source import find_images

Floats = npt.NDArray[np.float64]
FIELDS = ("log_px", "decodes", "effective_samples", "pareto_k", "seconds")
TRUTH = Annealing(chains=16, temperatures=150)


@contextmanager
def settings(starts: int = refinement.STARTS, samples: int = likelihood.REFINED_SAMPLES) -> Iterator[None]:
    """Another budget of refinement."""
    before = refinement.STARTS, likelihood.REFINED_SAMPLES
    refinement.STARTS, likelihood.REFINED_SAMPLES = starts, samples
    yield
    refinement.STARTS, likelihood.REFINED_SAMPLES = before


def first_images(paths: list[str], shape: tuple[int, int, int], count: int) -> npt.NDArray[np.uint8]:
    found: list[npt.NDArray[np.uint8]] = []
    for batch in read_images(find_images(paths).pieces, ImageContract(*shape)):
        found.append(batch.images)
        if sum(map(len, found)) >= count:
            break
    return np.concatenate(found)[:count]


class Study:
    """Runs estimators over the images, or finds what an earlier run left."""

    def __init__(self, bundle: Bundle, images: npt.NDArray[np.uint8], cache: Path) -> None:
        self.bundle, self.images, self.cache = bundle, images, cache / bundle.hash[:12]
        self.cache.mkdir(parents=True, exist_ok=True)

    def estimator(self, samples: int = 1000, seed: int = 0, annealing: Annealing | None = None) -> LikelihoodEstimator:
        return LikelihoodEstimator(
            self.bundle,
            samples=samples,
            seed=seed,
            provider="cpu",
            annealing=annealing,
        )

    def kept(self, stage: str, rows: Callable[[], Iterator[tuple[float, ...]]]) -> Floats:
        """The rows of a stage, [images, fields]."""
        path = self.cache / f"{stage}.npy"
        if not path.exists():
            began = time.perf_counter()
            values = np.array(list(rows()), dtype=np.float64)
            print(f"{stage}: {time.perf_counter() - began:.0f} s", flush=True)
            np.save(path, values)
        found: Floats = np.load(path)
        return found

    def run(self, stage: str, name: str, estimator: LikelihoodEstimator) -> Floats:
        """One estimator over all images, `FIELDS`."""

        def rows() -> Iterator[tuple[float, ...]]:
            for row, image in enumerate(self.images):
                began = time.process_time()
                found = estimator.estimate(image, row, [name])
                took = time.process_time() - began
                yield (*_fields(found, name, estimator), took)

        return self.kept(f"{stage}-{len(self.images)}", rows)


def _fields(found: ImageLikelihood, name: str, estimator: LikelihoodEstimator) -> tuple[float, float, float, float]:
    if name == "elbo":
        assert found.elbo is not None
        return found.elbo.value, float(estimator.samples), np.nan, np.nan
    each: Estimate = getattr(found, name.replace("-", "_"))
    return each.log_px, float(each.decodes), each.effective_samples, each.pareto_k


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", required=True)
    parser.add_argument("--images", nargs="+", required=True)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--count", type=int, default=100, help="images")
    parser.add_argument("--certified", type=int, default=40, help="images drawn from the model")
    options = parser.parse_args()
    bundle = Bundle.open(options.bundle)
    study = Study(bundle, first_images(options.images, bundle.shape, options.count), options.cache)
    with settings(starts=8):
        truth = study.run("truth", "annealed", study.estimator(seed=7, annealing=TRUTH))[:, 0]

    table: dict[str, Floats] = {}
    for samples in (100, 300, 1000):
        table[f"importance, {samples}"] = study.run(f"importance-{samples}", "importance", study.estimator(samples))
    table = {"elbo": study.run("elbo", "elbo", study.estimator(100)), **table}
    table["monte-carlo, 1000"] = study.run("monte-carlo", "monte-carlo", study.estimator())
    for starts, samples in ((1, 100), (1, 330), (3, 100), (3, 330)):
        with settings(starts, samples):
            name = f"refined, {starts} start{'s' * (starts > 1)}, {samples}"
            table[name] = study.run(f"refined-{starts}-{samples}", "refined", study.estimator())
    table["annealed, 16 × 100"] = study.run("annealed", "annealed", study.estimator())
    print(f"\nThe first {len(truth)} images; truth {truth.mean():.2f} nats on average\n")
    print("| estimator | decodes per image | mean error, nats | worst | effective samples | k̂ > 0.7 | images/s |")
    print("|---|---|---|---|---|---|---|")
    for name, values in table.items():
        log_px, decodes, effective, k, seconds = values.T
        error = log_px - truth
        unweighted = np.isnan(effective).all()
        print(
            f"| {name} | {decodes.mean():,.0f} | {error.mean():+.2f} | {error.min():+.2f} | "
            f"{'' if unweighted else f'{effective.mean():.1f}'} | "
            f"{'' if np.isnan(k).all() else f'{np.mean(k > 0.7):.0%}'} | {1 / seconds.mean():.3g} |"
        )

    estimator = study.estimator()

    def certificates() -> Iterator[tuple[float, ...]]:
        for index in range(options.certified):
            found = estimator.certify(index)
            yield found.forward.log_px, found.reverse.log_px, float(found.forward.decodes + found.reverse.decodes)

    forward, reverse, decodes = study.kept(f"certificate-{options.certified}", certificates).T
    gap = reverse - forward
    error = gap.std(ddof=1) / len(gap) ** 0.5
    print(
        f"\nAnnealing, 16 chains × 100 temperatures, on {len(gap)} images of the model: forward {forward.mean():.2f}, "
        f"reverse {reverse.mean():.2f}, gap {gap.mean():.3f} ± {error:.3f} nats, largest {np.abs(gap).max():.2f}; "
        f"{decodes.mean():,.0f} decodes per image"
    )
    refined = table["refined, 3 starts, 330"]
    lost = truth - refined[:, 0]
    save(
        "likelihood_estimators",
        [
            Ratio("refined: mean distance from annealing", float(lost.mean()), 2.0, "nats", "<= 1.00", "allowed"),
            Ratio("refined: worst image", float(lost.max()), 10.0, "nats", "<= 1.00", "allowed"),
            Ratio(
                "refined: most decodes of an image", float(refined[:, 1].max()), 600.0, "decodes", "<= 1.00", "allowed"
            ),
            Ratio("annealing: forward against reverse", float(abs(gap.mean())), 0.2, "nats", "<= 1.00", "allowed"),
        ],
        bundle=bundle.hash,
        truth=truth.tolist(),
        errors={name: (values[:, 0] - truth).tolist() for name, values in table.items()},
    )


if __name__ == "__main__":
    main()
