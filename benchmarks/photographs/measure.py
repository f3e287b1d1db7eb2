"""What a fitted detector is worth on a setting: all scores, and pixel AUROC where there are masks."""

import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks.photographs.detector import Floats, Method
from benchmarks.photographs.settings import Sets
from jobs.evaluate.detection import auroc

Result = dict[str, Any]

LEVEL = 0.01  # of the p-values that count as found
REPLICATES = 1000


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
        "note": sets.note,
        "test": {"score": ordinary.score.tolist(), "p_value": ordinary.p_value.tolist()},
        "odd": {kind: {"score": each.score.tolist(), "p_value": each.p_value.tolist()} for kind, each in odd.items()},
        "pixels": pixels,
    }


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
    generator = np.random.default_rng(0)
    drawn = np.zeros(REPLICATES)
    for pair in zip(ours, other, strict=True):
        inliers = [np.array(result["test"]["score"]) for result in pair]
        kinds = [[np.array(result["odd"][kind]["score"]) for result in pair] for kind in pair[0]["odd"]]
        for replicate in range(REPLICATES):
            rows = generator.integers(0, len(inliers[0]), len(inliers[0]))
            for scores in kinds:
                odd = generator.integers(0, len(scores[0]), len(scores[0]))
                a, b = (auroc(ordinary[rows], score[odd]) for ordinary, score in zip(inliers, scores, strict=True))
                drawn[replicate] += (a - b) / (len(kinds) * len(ours))
    low, high = np.quantile(drawn, [0.025, 0.975])
    return value, float(low), float(high)
