"""What a fitted detector is worth on a setting: all scores, pixel AUROC where there are masks, and its speed."""

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from benchmarks.photographs.detector import Floats, Method
from benchmarks.photographs.settings import Sets
from jobs.demo.defects import Images
from jobs.evaluate.detection import auroc

Result = dict[str, Any]

LEVEL = 0.01  # of the p-values that count as found
REPLICATES = 1000
_TIMED, _WARM_UP, _ROUNDS = 128, 32, 3


def measure(method: Method, sets: Sets) -> Result:
    """Fit a method and score a setting with it."""
    start = time.process_time()
    detector = method.fit(sets.training)
    fitted = time.process_time() - start
    ordinary = detector.score(sets.test)
    odd = {kind: detector.score(images) for kind, images in sets.outliers.items()}
    pixels = {}
    for kind, masks in sets.masks.items():
        if ordinary.maps is not None and (maps := odd[kind].maps) is not None:
            pixels[kind] = auroc(np.concatenate([ordinary.maps.ravel(), maps[~masks]]), maps[masks])
    return {
        "fit_seconds": round(fitted, 1),
        "images_per_second": per_second(detector.rank, sets.test[:_TIMED]),
        "note": sets.note,
        "test": {"score": ordinary.score.tolist(), "p_value": ordinary.p_value.tolist()},
        "odd": {kind: {"score": each.score.tolist(), "p_value": each.p_value.tolist()} for kind, each in odd.items()},
        "pixels": pixels,
    }


def per_second(compute: Callable[[Images], object], images: Images) -> float:
    """Images per second of processor time, the best of several rounds after a short one to warm up."""
    compute(images[:_WARM_UP])
    seconds = []
    for _ in range(_ROUNDS):
        start = time.process_time()
        compute(images)
        seconds.append(time.process_time() - start)
    return len(images) / min(seconds)


def speed(results: Sequence[Result]) -> float | None:
    """Mean images per second; None if a result is older than this measurement."""
    speeds = [result.get("images_per_second") for result in results]
    known = [each for each in speeds if each is not None]
    return float(np.mean(known)) if known and len(known) == len(speeds) else None


def aurocs(result: Result) -> Floats:
    """Image AUROC of every kind: [K]."""
    inliers = np.array(result["test"]["score"])
    return np.array([auroc(inliers, np.array(each["score"])) for each in result["odd"].values()])


def found(result: Result) -> float:
    """The share of outliers at p ≤ 0.01, mean over the kinds."""
    return float(np.mean([np.mean(np.array(each["p_value"]) <= LEVEL) for each in result["odd"].values()]))


def false_positives(result: Result) -> float:
    """The share of ordinary test images at p ≤ 0.01."""
    return float(np.mean(np.array(result["test"]["p_value"]) <= LEVEL))


def paired_difference(ours: Sequence[Result], other: Sequence[Result]) -> tuple[float, float, float]:
    """Mean AUROC of ours less the other's over settings and kinds, and its 95% bootstrap interval.

    Ordinary and odd images are resampled within each setting, the same for both methods.
    """
    value = float(np.mean([aurocs(a).mean() - aurocs(b).mean() for a, b in zip(ours, other, strict=True)]))
    low, high = interval(resampled(ours) - resampled(other))
    return value, low, high


def interval(values: Floats) -> tuple[float, float]:
    """The central 95%."""
    low, high = np.quantile(values, [0.025, 0.975])
    return float(low), float(high)


def resampled(results: Sequence[Result]) -> Floats:
    """The mean AUROC over results and kinds, for bootstrap samples of their images: [REPLICATES].

    The samples of two methods are of the same images, if their results are of the same settings in the same order:
    differences are paired. An AUROC is Σᵢⱼ aᵢ bⱼ [oⱼ > iᵢ] / nm, with aᵢ and bⱼ how often inlier i and outlier j are
    drawn.
    """
    generator, total = np.random.default_rng(0), np.zeros(REPLICATES)
    for result in results:
        inliers = np.array(result["test"]["score"])
        drawn = _counts(len(inliers), generator)
        for each in result["odd"].values():
            outliers = np.array(each["score"])
            above = (outliers > inliers[:, None]) + 0.5 * (outliers == inliers[:, None])
            counts = _counts(len(outliers), generator)
            total += ((drawn @ above) * counts).sum(1) / above.size / (len(result["odd"]) * len(results))
    return total


def _counts(number: int, generator: np.random.Generator) -> Floats:
    """How often each of so many images is drawn: [REPLICATES, number]."""
    return generator.multinomial(number, np.full(number, 1 / number), REPLICATES).astype(float)
