"""The generalised Pareto tail: the fit against brute force, the p-values against known distributions."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from export.guarantees.p_values import p_values
from export.guarantees.tail import LEAST_EXCESSES, fit, fit_tail
from vae_core.errors import UserError


def pareto(random: np.random.Generator, shape: float, size: int) -> np.ndarray:
    """Draws of scale 1, by the quantile function."""
    log_survival = np.log(1 - random.random(size))
    return -log_survival if shape == 0 else np.expm1(-shape * log_survival) / shape


def log_likelihood(excesses: np.ndarray, shape: float, scale: float) -> float:
    """Of the density (1 + ξ y/β)^(−1/ξ − 1)/β."""
    y = excesses / scale
    powers = y if shape < 1e-12 else (1 + 1 / shape) * np.log1p(shape * y)
    return float(-len(y) * np.log(scale) - powers.sum())


@pytest.mark.parametrize("shape", [0.0, 0.1, 0.3, 1.0, 2.0])
def test_the_parameters_are_recovered(shape: float) -> None:
    count = 20_000
    found, scale = fit(7 * pareto(np.random.default_rng(0), shape, count))
    # The asymptotic errors of the maximum likelihood estimates (Smith 1987).
    assert abs(found - shape) < 4 * (1 + shape) / count**0.5
    assert abs(scale - 7) < 4 * 7 * (2 * (1 + shape) / count) ** 0.5


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**32), st.sampled_from([-0.4, 0.0, 0.2, 1.5]), st.integers(30, 300))
def test_nothing_is_likelier_than_the_fit(seed: int, shape: float, count: int) -> None:
    random = np.random.default_rng(seed)
    excesses = pareto(random, shape, count)
    found, scale = fit(excesses)
    best = log_likelihood(excesses, found, scale)
    assert found >= 0
    for other_shape in [0, *(found * np.logspace(-0.2, 0.2, 21)), *np.linspace(0, 3, 31)]:
        for other_scale in scale * np.logspace(-0.5, 0.5, 41):
            assert log_likelihood(excesses, other_shape, other_scale) <= best + 1e-7 * count


def test_the_unit_does_not_matter() -> None:
    excesses = pareto(np.random.default_rng(1), 0.3, 100)
    shape, scale = fit(excesses)
    np.testing.assert_allclose(fit(1e6 * excesses), (shape, 1e6 * scale), rtol=1e-6)
    scores = np.sort(pareto(np.random.default_rng(1), 0.3, 1000)).astype(np.float32)
    plain, scaled = fit_tail(scores), fit_tail(scores * np.float32(2**20))
    at, conformal = np.linspace(0, 60, 300, dtype=np.float32), np.linspace(1, 1e-3, 300)
    for ours, theirs in zip(plain.p_values(at, conformal), scaled.p_values(at * 2.0**20, conformal), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**32), st.integers(400, 3000), st.sampled_from(["exponential", "normal", "cauchy", "integers"]))
def test_up_to_the_threshold_it_is_conformal_and_beyond_it_only_falls(seed: int, size: int, kind: str) -> None:
    random = np.random.default_rng(seed)
    draws = {
        "exponential": random.exponential(size=size),
        "normal": random.normal(size=size),
        "cauchy": random.standard_cauchy(size),
        "integers": random.integers(0, 10_000, size),  # with ties
    }
    calibration = np.sort(draws[kind].astype(np.float32))
    fitted = fit_tail(calibration)
    scores = np.sort(np.concatenate([calibration, np.linspace(calibration[0] - 1, calibration[-1] * 3, 500)]))
    scores = np.append(scores, [1e30, 3e38]).astype(np.float32)
    conformal = p_values(calibration, scores)
    p, low, high = fitted.p_values(scores, conformal)
    below = scores <= np.float32(fitted.threshold)
    assert below.sum() >= 0.9 * size - 1
    np.testing.assert_array_equal(p[below], conformal[below])
    for falling in (p, low, high):
        assert (np.diff(falling) <= 0).all()
    assert (low > 0).all()
    assert (low <= p).all()
    assert (p <= high).all()
    assert (high <= 1).all()
    assert fitted.exceedances == (calibration > fitted.threshold).sum()
    # Just above the threshold it is the conformal p-value too.
    just_above = np.nextafter(fitted.threshold, np.inf)
    assert fitted.p_values([just_above], [1.0]).p[0] == pytest.approx((1 + fitted.exceedances) / (size + 1))


@pytest.mark.parametrize("shape", [0.0, 0.3])
def test_a_score_is_found_by_its_p_value(shape: float) -> None:
    fitted = fit_tail(np.sort(pareto(np.random.default_rng(3), shape, 2000).astype(np.float32)))
    for level in (1e-2, 1e-5, 1e-9):
        found = fitted.p_values([fitted.score_at(level)], [1.0])
        assert found.p[0] == pytest.approx(level)
        assert fitted.interval_at(level) == (found.low[0], found.high[0])


@pytest.mark.parametrize("shape", [0.0, 0.3])
def test_p_values_are_uniform_where_the_model_holds(shape: float) -> None:
    # P(p ≤ α)/α exactly, from the true distribution, over redrawn calibration sets of 2,000.
    random = np.random.default_rng(4)
    levels = (0.05, 0.02, 0.005, 0.001)
    ratios = np.empty((100, len(levels)))
    for ratio in ratios:
        fitted = fit_tail(np.sort(pareto(random, shape, 2000).astype(np.float32)))
        scores = np.array([fitted.score_at(level) for level in levels])
        ratio[:] = (np.exp(-scores) if shape == 0 else (1 + shape * scores) ** (-1 / shape)) / levels
    mean, error = ratios.mean(axis=0), ratios.std(axis=0) / 10
    # The estimates are biased by 1/K, more so further out: a few per cent here, up to 30 % at 0.001.
    assert (np.abs(mean - 1) < 3 * error + [0.02, 0.03, 0.1, 0.3]).all(), mean


def test_lighter_tails_err_on_the_safe_side() -> None:
    random = np.random.default_rng(5)
    for _ in range(20):
        fitted = fit_tail(np.sort(random.random(4000).astype(np.float32)))
        assert 1 - fitted.score_at(1e-3) <= 1e-3
        assert fitted.shape == 0


def test_nan_scores_do_not_affect_others() -> None:
    fitted = fit_tail(np.sort(np.random.default_rng(6).exponential(size=1000).astype(np.float32)))
    alone = fitted.p_values([9.0], [1e-3])
    beside = fitted.p_values([np.nan, 9.0, np.inf, -np.inf], [1e-3, 1e-3, 1e-3, 1.0])
    assert [values[1] for values in beside] == [values[0] for values in alone]


def test_the_fit_is_deterministic_and_serialisable() -> None:
    scores = np.sort(np.random.default_rng(7).exponential(size=1000).astype(np.float32))
    fitted = fit_tail(scores)
    assert fitted == fit_tail(scores.copy())
    found = json.loads(json.dumps(fitted.to_json(), allow_nan=False))
    assert found["model"] == "generalised Pareto"
    assert found["exceedances"] == 100
    # Intervals widen further below 1/(n + 1).
    assert [each["p_value_tail"] for each in found["intervals"]] == [1e-4, 1e-5, 1e-6]
    widths = [each["high"] / each["low"] for each in found["intervals"]]
    assert widths == sorted(widths)


def test_the_number_of_exceedances() -> None:
    scores = np.sort(np.random.default_rng(8).normal(size=8000).astype(np.float32))
    assert fit_tail(scores[:300]).exceedances == 30
    assert fit_tail(scores).exceedances == 400  # 8000^(2/3)


def test_too_few_scores_and_too_many_equal_ones_are_refused() -> None:
    scores = np.arange(299, dtype=np.float32)
    with pytest.raises(UserError, match="--tail needs at least 300 calibration images, got 299"):
        fit_tail(scores)
    ties = np.full(1000, 3, np.float32)
    ties[-10:] = 4
    with pytest.raises(UserError, match="among the 100 highest of the calibration, got 10 above 3;"):
        fit_tail(ties)
    assert LEAST_EXCESSES == 30
