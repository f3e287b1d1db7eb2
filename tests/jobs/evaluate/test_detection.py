"""Detection metrics against their definitions, by brute force; their intervals against theory."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.evaluate.bootstrap import intervals
from jobs.evaluate.comparison import compare, proportion
from jobs.evaluate.detection import auroc, rank, roc, separation

SCORES = st.lists(st.integers(-3, 3).map(float), min_size=1, max_size=25).map(np.array)


@settings(deadline=None)
@given(SCORES, SCORES)
def test_auroc_is_the_probability_of_a_higher_score_with_ties_halved(inliers: np.ndarray, outliers: np.ndarray) -> None:
    difference = outliers[:, None] - inliers[None, :]
    expected = np.mean((difference > 0) + 0.5 * (difference == 0))
    assert auroc(inliers, outliers) == pytest.approx(expected, abs=1e-12)
    assert separation(*rank(inliers, outliers).counts()).auroc == pytest.approx(expected, abs=1e-12)
    assert auroc(-inliers, -outliers) == pytest.approx(1 - expected, abs=1e-12)


@settings(deadline=None)
@given(SCORES, SCORES)
def test_average_precision_and_fpr_match_their_definitions(inliers: np.ndarray, outliers: np.ndarray) -> None:
    thresholds = sorted({*inliers, *outliers}, reverse=True)
    recall = [np.mean(outliers >= t) for t in thresholds]
    precision = [np.sum(outliers >= t) / (np.sum(outliers >= t) + np.sum(inliers >= t)) for t in thresholds]
    found = separation(*rank(inliers, outliers).counts())
    assert found.average_precision == pytest.approx(np.sum(np.diff([0, *recall]) * precision), abs=1e-12)
    enough = [t for t in thresholds if np.sum(outliers >= t) >= 0.95 * len(outliers) - 1e-9]
    assert found.fpr_at_95_tpr == pytest.approx(np.mean(inliers >= enough[0]))


@settings(deadline=None)
@given(SCORES, SCORES)
def test_the_area_under_the_curve_is_the_auroc(inliers: np.ndarray, outliers: np.ndarray) -> None:
    fpr, tpr = roc(*rank(inliers, outliers).counts())
    assert (fpr[0], tpr[0], fpr[-1], tpr[-1]) == (0, 0, 1, 1)
    assert np.trapezoid(tpr, fpr) == pytest.approx(auroc(inliers, outliers), abs=1e-12)


def test_the_metrics_equal_scikit_learn() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(0)
    inliers, outliers = rng.normal(0, 1, 900).round(1), rng.normal(1, 2, 400).round(1)  # many ties
    labels, scores = np.repeat([0, 1], [900, 400]), np.concatenate([inliers, outliers])
    found = separation(*rank(inliers, outliers).counts())
    assert found.auroc == pytest.approx(metrics.roc_auc_score(labels, scores), abs=1e-12)
    assert found.average_precision == pytest.approx(metrics.average_precision_score(labels, scores), abs=1e-12)
    fpr, tpr, _ = metrics.roc_curve(labels, scores, drop_intermediate=False)
    assert found.fpr_at_95_tpr == pytest.approx(fpr[np.flatnonzero(tpr >= 0.95)[0]])
    np.testing.assert_allclose(roc(*rank(inliers, outliers).counts()), [fpr, tpr], atol=1e-12)


def test_float32_scores_are_compared_exactly() -> None:
    low = np.float32(7.25)
    high = np.nextafter(low, np.float32(np.inf))
    assert auroc(np.full(3, low, np.float32), np.full(2, high, np.float32)) == 1.0


def test_intervals_have_the_theoretical_width() -> None:
    rng = np.random.default_rng(0)
    inliers, outliers = rng.normal(0, 1, 800).round(2), rng.normal(1.2, 1, 300).round(2)
    found = intervals(rank(inliers, outliers), seed=1)
    # DeLong et al. 1988: the variance of the AUROC from each image's own placement among the others.
    wins = (outliers[:, None] > inliers) + 0.5 * (outliers[:, None] == inliers)
    error = np.sqrt(wins.mean(1).var(ddof=1) / 300 + wins.mean(0).var(ddof=1) / 800)
    low, high = found.auroc.low, found.auroc.high
    assert (high - low) / (2 * 1.96 * error) == pytest.approx(1, abs=0.1)
    assert (low + high) / 2 == pytest.approx(found.auroc.value, abs=0.2 * error)
    for each in found:
        assert each.low <= each.value <= each.high
    assert intervals(rank(inliers, outliers), seed=1) == found
    assert intervals(rank(inliers, outliers), seed=2) != found


def test_intervals_of_sets_that_do_not_overlap_are_points() -> None:
    found = intervals(rank(np.arange(50.0), np.arange(100.0, 120)), seed=0, replicates=50)
    assert found.auroc == found.average_precision == (1.0, 1.0, 1.0)
    assert found.fpr_at_95_tpr == (0.0, 0.0, 0.0)


def test_a_statistic_with_outliers_on_both_sides() -> None:
    rng = np.random.default_rng(0)
    inliers, outliers = rng.normal(size=2000), np.concatenate([rng.normal(-4, 1, 500), rng.normal(4, 1, 500)])
    columns = [{"depth": values, "outlier_score": np.abs(values)} for values in (inliers, outliers)]
    found = compare(*columns, seed=0).metrics
    assert found["statistics"]["depth"]["auroc"] == pytest.approx(0.5, abs=0.03)
    assert found["statistics"]["depth"]["auroc_two_sided"] > 0.97
    assert found["compared"] == {"inliers": 2000, "outliers": 1000, "prevalence": 1 / 3}


def test_proportions() -> None:
    # Wilson's interval for 0 of 10 and 7 of 10, as tabulated (Brown, Cai and DasGupta 2001).
    assert proportion(0, 10) == pytest.approx({"value": 0.0, "low": 0.0, "high": 0.2775}, abs=1e-4)
    assert proportion(7, 10) == pytest.approx({"value": 0.7, "low": 0.3968, "high": 0.8922}, abs=1e-4)
    assert proportion(10, 10)["high"] == 1.0
