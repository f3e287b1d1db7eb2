"""Bounds on false discoveries hold at all thresholds at once, and say something."""

import math

import numpy as np
import pytest
from scipy.stats import beta

from export.guarantees.envelope import fit_envelope
from export.guarantees.reference import reference
from jobs.discoveries.control import benjamini_hochberg
from jobs.discoveries.false_discoveries import Ranked, bound_false_discoveries, inliers_at_most


def job(
    random: np.random.Generator, size: int, inliers: int, outliers: int, mean: float = 4.0
) -> tuple[np.ndarray, np.ndarray]:
    """Counts of all rows by rank, and of the inliers alone."""
    calibration = reference(np.sort(random.normal(size=size)).astype(np.float32))
    good = calibration.ranks(random.normal(size=inliers).astype(np.float32))
    bad = calibration.ranks(random.normal(mean, 1, outliers).astype(np.float32))
    return tuple(np.bincount(each, minlength=size + 2) for each in (np.concatenate([good, bad]), good))


@pytest.mark.parametrize(
    ("size", "inliers", "outliers"), [(200, 2000, 100), (200, 2000, 0), (2000, 200, 20), (50, 30, 0), (1000, 1000, 500)]
)
def test_all_bounds_hold_at_once_with_the_confidence(size: int, inliers: int, outliers: int) -> None:
    random, confidence, rounds = np.random.default_rng(size + inliers), 0.8, 200
    held, calibration = 0, reference(np.zeros(size, np.float32))
    for _ in range(rounds):
        counts, good = job(random, size, inliers, outliers)
        bounds = inliers_at_most(Ranked([counts], [calibration]), 1 - confidence, calibration.values)
        assert (bounds <= np.cumsum(counts)).all()
        assert (np.diff(bounds) >= 0).all()
        held += bool((np.cumsum(good) <= bounds).all())
    assert held / rounds >= confidence - 3 * math.sqrt(confidence * (1 - confidence) / rounds)


def test_discoveries_are_bounded_and_outliers_counted() -> None:
    random = np.random.default_rng(0)
    counts, good = job(random, 6000, 20_000, 1000, mean=6.0)
    level = benjamini_hochberg(counts, 0.1)
    found = bound_false_discoveries(
        [counts], [reference(np.zeros(6000, np.float32))], 0.9, level.p_value, [0.001, 0.01, 0.05]
    )
    assert found.discoveries.flagged == level.discoveries
    assert found.discoveries.false_at_most >= good[: round(level.p_value * 6001) + 1].sum()
    assert found.discoveries.share_at_most < 0.2
    assert 900 < found.outliers_at_least <= 1000
    at_one_percent = found.thresholds[1]
    assert at_one_percent.p_value == 0.01
    # The expectation is 200, the envelope of the calibration alone allows 1.4 times as many.
    assert 200 < at_one_percent.false_at_most < 330
    assert found.to_json()["share_at_most"] == found.discoveries.share_at_most


def test_without_discoveries_nothing_is_false() -> None:
    counts, _ = job(np.random.default_rng(1), 100, 500, 0)
    found = bound_false_discoveries([counts], [reference(np.zeros(100, np.float32))], 0.99, 0.0, [])
    assert found.discoveries == (0.0, 0, 0)
    assert found.discoveries.share_at_most == 0
    assert found.outliers_at_least == 0


def test_classes_share_the_confidence() -> None:
    random, held, rounds, confidence = np.random.default_rng(2), 0, 200, 0.8
    references = [reference(np.zeros(size, np.float32)) for size in (300, 100, 200)]
    levels = [0.01, 0.02, 0.05, 0.1, 0.2, 0.5]
    for _ in range(rounds):
        jobs = [job(random, 300, 0, 0), job(random, 100, 400, 20), job(random, 200, 300, 0)]
        found = bound_false_discoveries([counts for counts, _ in jobs], references, confidence, 0.0, levels)
        held += all(
            sum(
                int(good[: of.last_rank(each.p_value) + 1].sum())
                for (_, good), of in zip(jobs, references, strict=True)
            )
            <= each.false_at_most
            for each in found.thresholds
        )
    assert held / rounds >= confidence


def test_many_rows_cost_no_more() -> None:
    counts = np.full(1002, 10**9)
    counts[0] = 0
    calibration = reference(np.zeros(1000, np.float32))
    bounds = inliers_at_most(Ranked([counts], [calibration]), 0.1, calibration.values)
    assert bounds[10] == np.cumsum(counts)[10]  # no more than usual: all may be inliers
    assert bounds[-1] == 1001 * 10**9


@pytest.mark.parametrize("confidence", [0.5, 0.9, 0.999])
def test_an_envelope_of_the_calibration_alone_bounds_very_many_rows(confidence: float) -> None:
    # As m grows, V(t)/m becomes U_(k), whose quantile at one k is that of Beta(k, n + 1 − k).
    counts = np.zeros(502, np.int64)
    counts[25] = 10**9
    calibration = reference(np.zeros(500, np.float32))
    (bound,) = inliers_at_most(Ranked([counts], [calibration]), 1 - confidence, np.array([25 / 501])) / counts.sum()
    alone = beta.ppf(confidence, 25, 476)
    # Thresholds are bounded at ratios of 1.25.
    assert alone < bound < fit_envelope(500, confidence).p_values(math.ceil(25 * 1.25))
