"""Ranks and p-values within folds, against a definition written out and a simulation."""

import numpy as np
import pytest

from jobs.find.ranking import rank


def test_p_values_are_shares_of_the_fold() -> None:
    rng = np.random.default_rng(0)
    scores, folds = rng.integers(0, 20, 200).astype(np.float32), rng.integers(0, 3, 200)
    found = rank(scores, folds)
    for i in range(len(scores)):
        own = scores[folds == folds[i]]
        assert found.p_value[i] == (own >= scores[i]).sum() / len(own)


def test_ranks_order_by_p_value_then_score_then_number() -> None:
    rng = np.random.default_rng(1)
    scores, folds = rng.integers(0, 20, 200).astype(np.float32), rng.integers(0, 3, 200)
    found = rank(scores, folds)
    expected = sorted(range(200), key=lambda i: (found.p_value[i], -scores[i], i))
    np.testing.assert_array_equal(found.order, expected)
    np.testing.assert_array_equal(np.sort(found.rank), np.arange(1, 201))


@pytest.mark.parametrize(("shift", "bound"), [(3.0, 0.05), (0.0, 0.05), (-9.0, 0.05 / 0.9)])
def test_false_positive_rate_of_ordinary_images(shift: float, bound: float) -> None:
    """At most α where outliers score higher or alike, at most α / (1 − share) where they score lower."""
    rng = np.random.default_rng(2)
    rates = []
    for _ in range(400):
        scores = np.concatenate([rng.normal(size=450), rng.normal(shift, 1, 50)]).astype(np.float32)
        found = rank(scores, rng.integers(0, 2, 500))
        rates.append((found.p_value[:450] <= 0.05).mean())
    mean, error = np.mean(rates), np.std(rates) / 20
    assert mean <= bound + 3 * error
    if shift == 0:
        assert mean > 0.045  # and no less than need be
