"""The study of contaminated calibration sets, on scores whose distributions are known."""

import numpy as np

from benchmarks.contamination import MISTAKES, measure, review

SIZE, SHARE = 2000, 0.05


def test_a_review_restores_power_and_rates_and_picking_breaks_them() -> None:
    rng = np.random.default_rng(0)
    rounds = [
        measure(
            rng.normal(size=3 * SIZE).astype(np.float32),
            rng.normal(6, 1, size=SIZE).astype(np.float32),
            SIZE,
            SHARE,
            rng,
        )
        for _ in range(60)
    ]
    false = {name: np.mean([each[name][0] for each in rounds]) for name in rounds[0]}
    power = {name: np.mean([each[name][1] for each in rounds]) for name in rounds[0]}
    error = {name: np.std([each[name][0] for each in rounds], ddof=1) / np.sqrt(len(rounds)) for name in rounds[0]}
    kept = SIZE - round(SIZE * SHARE)
    expected = int(0.01 * (kept + 1)) / (kept + 1)  # conformal p-values have steps
    assert false["as it is"] < 0.002
    assert power["as it is"] < 0.3
    assert abs(false["300 judged"] - expected) < 4 * error["300 judged"]
    assert power["300 judged"] > 0.99
    assert false["300 judged"] == false["without outliers"]
    added, removed = (next(name for name in false if word in name) for word in ("added", "removed"))
    assert abs(false[added] - 2 * expected) < 4 * error[added]
    assert abs(false[removed] - (expected + MISTAKES / (kept + 1))) < 4 * error[removed]


def test_only_outliers_and_the_mistakes_go() -> None:
    scores = np.array([9, 8, 7, 6, 5], np.float32)
    is_outlier = np.array([True, False, False, True, True])
    assert review(scores, is_outlier, 4).tolist() == [8, 7, 5]
    assert review(scores, is_outlier, 4, mistakes=1).tolist() == [7, 5]
