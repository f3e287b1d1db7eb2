"""Part of `benchmarks.guarantees`: rates given one calibration set, rates of each class, bounds on false discoveries.

A false positive rate given a calibration set is a property of the distribution of inliers, so here the pool is that
distribution: a calibration set is drawn from it with replacement, and the rate is the share of the whole pool.
"""

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from export.guarantees.envelope import fit_envelope
from export.guarantees.reference import Reference, reference
from jobs.discoveries.control import benjamini_hochberg
from jobs.discoveries.false_discoveries import Ranked, inliers_at_most

CONFIDENCE = 0.9
LEVELS = (0.001, 0.01, 0.05)
SHARE, RATE = 0.05, 0.1  # of outliers, and of false discoveries, where the latter are bounded
CLASS_LEVEL = 0.05

Scores = npt.NDArray[np.float32]
Labels = npt.NDArray[Any]


def mean(values: list[float]) -> dict[str, float]:
    error = float(np.std(values, ddof=1) / math.sqrt(len(values)))
    return {"mean": float(np.mean(values)), "standard_error": error}


def drawn(pool: Scores, size: int, rng: np.random.Generator) -> Scores:
    return np.sort(rng.choice(pool, size, replace=True))


def given_one_set(pool: Scores, size: int, resamples: int, rng: np.random.Generator) -> dict[str, Any]:
    """How often p-values hold at all thresholds at once, and the rates at some."""
    ordered, envelope = np.sort(pool), fit_envelope(size, CONFIDENCE)
    holds: dict[str, list[float]] = {"marginal": [], "conditional": []}
    rates: dict[tuple[str, float], list[float]] = {(kind, level): [] for kind in holds for level in LEVELS}
    for _ in range(resamples):
        scores = drawn(ordered, size, rng)
        # The false positive rate of p ≤ the p-value of rank k: the share of the pool above the k-th highest score.
        above = 1 - np.searchsorted(ordered, scores[::-1], side="right") / len(ordered)
        for kind, each in (("marginal", reference(scores)), ("conditional", reference(scores, envelope))):
            holds[kind].append(float((above <= each.values[1:-1]).all()))
            for level in LEVELS:
                rank = each.last_rank(level)
                rates[kind, level].append(float(above[rank - 1]) if rank else 0.0)
    shares = {kind: float(np.mean(values)) for kind, values in holds.items()}
    error = math.sqrt(CONFIDENCE * (1 - CONFIDENCE) / resamples)
    return {
        "confidence": CONFIDENCE,
        "all_thresholds_hold_in": shares,
        "holds": shares["conditional"] >= CONFIDENCE - 2 * error,
        "rates": [
            {
                "p_value": kind,
                "level": level,
                **mean(values),
                "within_level_in": float(np.mean(np.array(values) <= level)),
            }
            for (kind, level), values in rates.items()
        ],
    }


def of_each_class(pool: Scores, labels: Labels, resamples: int, rng: np.random.Generator) -> list[dict[str, Any]]:
    """The false positive rate of each class, ranked among half of all images and among those of its own class."""
    found: dict[str, dict[str, list[float]]] = {str(name): {"all": [], "own": []} for name in np.unique(labels)}
    for _ in range(resamples):
        order = rng.permutation(len(pool))
        for_calibration, tested = order[: len(pool) // 2], order[len(pool) // 2 :]
        every = reference(np.sort(pool[for_calibration]))
        for name, rates in found.items():
            of_class = labels.astype(str) == name
            own = reference(np.sort(pool[for_calibration][of_class[for_calibration]]))
            scores = pool[tested][of_class[tested]]
            for kind, each in (("all", every), ("own", own)):
                rates[kind].append(flagged(each, scores))
    return [
        {
            "class": name,
            "among_all": mean(rates["all"]),
            "among_own": (own := mean(rates["own"])),
            # Conformal p-values have steps, so the rate is at most the level.
            "holds": own["mean"] <= CLASS_LEVEL + 2 * own["standard_error"],
        }
        for name, rates in found.items()
    ]


def flagged(each: Reference, scores: Scores) -> float:
    return float((each.ranks(scores) <= each.last_rank(CLASS_LEVEL)).mean())


def bounded(pool: Scores, outliers: Scores, size: int, resamples: int, rng: np.random.Generator) -> dict[str, Any]:
    """How often bounds on inliers hold at all thresholds at once, and what they say of the discoveries."""
    holds, at_most, false = list[float](), list[float](), list[float]()
    for _ in range(resamples):
        each = reference(drawn(pool, size, rng))
        inliers = each.ranks(rng.choice(pool, size))
        hidden = each.ranks(rng.choice(outliers, round(size * SHARE / (1 - SHARE))))
        good, bad = (np.bincount(ranks, minlength=size + 2) for ranks in (inliers, hidden))
        bounds = inliers_at_most(Ranked([good + bad], [each]), 1 - CONFIDENCE, each.values)
        level = benjamini_hochberg(good + bad, RATE)
        last, found = each.last_rank(level.p_value), max(1, level.discoveries)
        holds.append(float((np.cumsum(good) <= bounds).all()))
        at_most.append(float(bounds[last]) / found)
        false.append(float(good[: last + 1].sum()) / found)
    return {
        "confidence": CONFIDENCE,
        "all_thresholds_hold_in": float(np.mean(holds)),
        "holds": float(np.mean(holds)) >= CONFIDENCE - 2 * math.sqrt(CONFIDENCE * (1 - CONFIDENCE) / resamples),
        "share_at_most": mean(at_most),
        "false_discovery_proportion": mean(false),
    }


def table(given: dict[str, Any], classes: list[dict[str, Any]], bounds: dict[str, Any]) -> str:
    """The same as tables."""
    lines = [
        "",
        f"All thresholds hold given the calibration set in {given['all_thresholds_hold_in']['conditional']:.1%} of "
        f"resamples with p_value_conditional at confidence {given['confidence']}, in "
        f"{given['all_thresholds_hold_in']['marginal']:.1%} with p_value.",
        "",
        "| p-value | level | false positive rate | at most the level in |",
        "|---|---|---|---|",
    ]
    for row in given["rates"]:
        rate = f"{row['mean']:.5f} ± {row['standard_error']:.5f}"
        lines.append(f"| {row['p_value']} | {row['level']} | {rate} | {row['within_level_in']:.1%} |")
    by_bound, true = (bounds[name]["mean"] for name in ("share_at_most", "false_discovery_proportion"))
    lines += [
        "",
        f"{SHARE:.0%} outliers, --fdr {RATE}: bounds on inliers hold at all thresholds in "
        f"{bounds['all_thresholds_hold_in']:.1%} of resamples (confidence {bounds['confidence']}); of the discoveries "
        f"at most {by_bound:.1%} are inliers by the bound, {true:.1%} are.",
    ]
    if classes:
        lines += ["", f"| class | rate at {CLASS_LEVEL} among all | among its own | holds |", "|---|---|---|---|"]
    for row in classes:
        rates = " | ".join(
            f"{row[kind]['mean']:.4f} ± {row[kind]['standard_error']:.4f}" for kind in ("among_all", "among_own")
        )
        lines.append(f"| {row['class']} | {rates} | {'yes' if row['holds'] else 'no'} |")
    return "\n".join(lines)
