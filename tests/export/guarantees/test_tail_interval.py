"""Likelihood-ratio intervals: against constrained optimisation, their definition, and how often they hold."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, chi2, genpareto

from export.guarantees.tail import fit, fit_tail
from export.guarantees.tail_interval import LEVEL, Bounds, bounds, proportion_bounds

DROP = chi2.ppf(LEVEL, 1) / 2


def log_likelihood(excesses: np.ndarray, size: int, log_rate: float, theta: float, scale: float) -> float:
    """Of ζ, ξ and β, by SciPy's densities."""
    tail = genpareto.logpdf(excesses, theta * scale, scale=scale).sum()
    return float(binom.logpmf(len(excesses), size, np.exp(log_rate)) + tail)


def bounded(excesses: np.ndarray, size: int) -> Bounds:
    shape, scale = fit(excesses)
    return bounds(excesses, size, best=shape / scale, largest=1e4 / np.median(excesses))


def highest(excesses: np.ndarray, size: int) -> float:
    shape, scale = fit(excesses)
    return log_likelihood(excesses, size, np.log(len(excesses) / size), shape / scale, scale)


CASES = pytest.mark.parametrize(
    ("shape", "count", "size"), [(0.0, 30, 300), (0.0, 300, 6000), (0.2, 100, 1000), (1.5, 60, 600)]
)


@CASES
def test_every_bound_is_on_the_boundary_of_the_region(shape: float, count: int, size: int) -> None:
    excesses = 7 * genpareto.rvs(shape, size=count, random_state=np.random.default_rng(0))
    top = highest(excesses, size)
    for side in bounded(excesses, size):
        for parameters in zip(*side, strict=True):
            assert top - log_likelihood(excesses, size, *parameters) == pytest.approx(DROP, abs=1e-4)


@CASES
def test_bounds_are_the_extremes_over_the_region(shape: float, count: int, size: int) -> None:
    # By brute force: every ξ and β of a grid, and for each the rates that its likelihood allows.
    excesses = genpareto.rvs(shape, size=count, random_state=np.random.default_rng(1))
    found = bounded(excesses, size)
    best_shape, best_scale = fit(excesses)
    xi = np.linspace(0, best_shape + 6 * (1 + best_shape) / count**0.5, 160)[:, None]
    beta = best_scale * np.exp(np.linspace(-1, 1, 160) * 6 * (2 * (1 + best_shape) / count) ** 0.5)[None]
    likelihood = np.zeros((160, 160))
    for y in excesses:
        likelihood += genpareto.logpdf(y / beta, xi) - np.log(beta)
    left = DROP - (genpareto.logpdf(excesses, best_shape, scale=best_scale).sum() - likelihood)
    rates = count / size * np.exp(np.linspace(-1, 1, 2001) * 6 / count**0.5)
    spent = binom.logpmf(count, size, count / size) - binom.logpmf(count, size, rates)
    inside = left >= 0
    least, most = (
        np.interp(left[inside], spent[1000::-1], rates[1000::-1]),
        np.interp(left[inside], spent[1000:], rates[1000:]),
    )
    for y in np.array([0.05, 1.7, 6.0, 15.0]) * excesses.mean():
        log_survival = genpareto.logsf(y / beta, xi)[inside]
        low, high = (np.log(least) + log_survival).min(), (np.log(most) + log_survival).max()
        assert -0.01 < low - found.low.log_p_values(np.array([y])).min() < 0.1
        assert -0.1 < high - found.high.log_p_values(np.array([y])).max() < 0.01


@settings(deadline=None, max_examples=100)
@given(st.integers(1, 10**6), st.floats(0, 1))
def test_bounds_of_a_proportion_are_at_the_likelihood_limit(size: int, share: float) -> None:
    count = round(size * share)
    (low,), (high,) = proportion_bounds(np.array([count]), size)
    assert 0 <= low <= count / size <= high <= 1

    def log_likelihood(p: float) -> float:
        return float(binom.logpmf(count, size, p))

    top = log_likelihood(count / size)
    if count > 0:
        assert top - log_likelihood(low) == pytest.approx(DROP, rel=1e-3)
    if count < size:
        assert top - log_likelihood(high) == pytest.approx(DROP, rel=1e-3)


def test_bounds_of_a_proportion_have_their_coverage() -> None:
    size = 500
    low, high = proportion_bounds(np.arange(size + 1), size)
    assert (np.diff(low) > 0).all()
    assert (np.diff(high)[:-1] > 0).all()
    truth = np.linspace(0.05, 0.95, 50)
    holds = (low[:, None] <= truth) & (truth <= high[:, None])
    coverage = (binom.pmf(np.arange(size + 1)[:, None], size, truth) * holds).sum(axis=0)
    assert coverage.mean() == pytest.approx(LEVEL, abs=0.005)
    assert coverage.min() > LEVEL - 0.02


@pytest.mark.parametrize("shape", [0.0, 0.2])
def test_the_interval_has_its_coverage_where_the_model_holds(shape: float) -> None:
    random, levels, rounds = np.random.default_rng(2), np.array([0.2, 1e-2, 1e-3, 1e-5]), 150
    scores = genpareto.isf(levels, shape).astype(np.float32)
    truth = genpareto.sf(scores.astype(np.float64), shape)
    held = np.zeros(len(levels))
    for _ in range(rounds):
        calibration = np.sort(genpareto.rvs(shape, size=1000, random_state=random).astype(np.float32))
        conformal = (1 + len(calibration) - np.searchsorted(calibration, scores)) / (len(calibration) + 1)
        _, low, high = fit_tail(calibration).p_values(scores, conformal)
        held += (low <= truth) & (truth <= high)
    # 95%, minus the small-sample error of a hundred excesses and three standard errors of this experiment.
    error = 3 * (LEVEL * (1 - LEVEL) / rounds) ** 0.5
    assert (held / rounds > LEVEL - 0.02 - error).all(), held / rounds
