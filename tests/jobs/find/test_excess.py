"""The estimate of the number of outliers, against numbers that are known."""

import numpy as np
import pytest

from jobs.find.excess import estimate_excess


def _scores(ordinary: int, outliers: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Log-normal scores, those of outliers far above, in two folds of different scales."""
    rng = np.random.default_rng(seed)
    logs = np.concatenate([rng.normal(1, 0.5, ordinary), rng.normal(4, 0.3, outliers)])
    folds = rng.integers(0, 2, len(logs))
    return np.exp(logs + 0.7 * folds).astype(np.float32), folds


@pytest.mark.parametrize("outliers", [30, 200, 600])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_outliers_far_above_are_counted(outliers: int, seed: int) -> None:
    found = estimate_excess(*_scores(4000, outliers, seed))
    assert found.low <= outliers <= found.high
    assert found.low <= found.about <= found.high


def test_symmetric_scores_have_no_excess() -> None:
    # Three standard deviations, at the best of many thresholds: a few of a hundred draws may exceed them.
    found = [estimate_excess(*_scores(1000, 0, seed)).about for seed in range(100)]
    assert np.count_nonzero(found) <= 5


def test_a_scale_of_a_fold_does_not_matter() -> None:
    scores, folds = _scores(2000, 100, 3)
    again = np.where(folds == 1, 50 * scores, scores)
    assert estimate_excess(scores, folds) == estimate_excess(again, folds)


def test_scores_that_may_be_negative() -> None:
    rng = np.random.default_rng(0)
    scores = np.concatenate([rng.normal(-20, 3, 3000), rng.normal(30, 3, 100)]).astype(np.float32)
    found = estimate_excess(scores, np.zeros(len(scores), int))
    assert found.low <= 100 <= found.high


@pytest.mark.parametrize("count", [1, 2, 5])
def test_a_few_images(count: int) -> None:
    assert estimate_excess(np.arange(count, dtype=np.float32), np.zeros(count, int)).about == 0
