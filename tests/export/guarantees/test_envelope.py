"""Envelopes of order statistics, against closed forms, exact recursions and simulated calibration sets."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import beta, ksone

from export.guarantees.envelope import coverage, fit_envelope

SIZES = [1, 2, 20, 399, 6000]
EVERY = {size: np.arange(1, size + 1) for size in SIZES}


def binomial(n: int, k: int, p: Fraction) -> Fraction:
    return math.comb(n, k) * p**k * (1 - p) ** (n - k)


def exact_coverage(bounds: list[Fraction]) -> Fraction:
    """P(U_(k) ≤ h(k) for all k): one less the probabilities f(k) that h(k) is the first bound that is passed.

    Then N(h(k)) = k − 1, and P(N(h(k)) = k − 1) = Σ_{j≤k} f(j) P(N(h(k)) = k − 1 | N(h(j)) = j − 1).
    """
    n, first = len(bounds), list[Fraction]()
    for k, bound in enumerate(bounds, start=1):
        probability = binomial(n, k - 1, bound)
        for j, f in enumerate(first, start=1):
            moved = (bound - bounds[j - 1]) / (1 - bounds[j - 1])
            probability -= f * binomial(n - j + 1, k - j, moved)
        first.append(probability)
    return 1 - sum(first)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("confidence", [0.5, 0.9, 0.999])
def test_coverage_is_simes_identity(size: int, confidence: float) -> None:
    # Simes (1986): P(U_(k) ≥ k δ/n for all k) = 1 − δ; mirrored, U_(k) ≤ 1 − (n + 1 − k) δ/n.
    bounds = 1 - (size + 1 - EVERY[size]) * (1 - confidence) / size
    assert coverage(size, EVERY[size], bounds) == pytest.approx(confidence, abs=1e-10)


@pytest.mark.parametrize("size", SIZES[1:])
def test_coverage_is_the_one_sided_kolmogorov_distribution(size: int) -> None:
    # Birnbaum & Tingey (1951): P(sup_t (t − N(t)/n) ≤ d), the greatest being just below each U_(k).
    for distance in ksone.ppf([0.1, 0.9], size):
        bounds = np.minimum((EVERY[size] - 1) / size + distance, 1)
        assert coverage(size, EVERY[size], bounds) == pytest.approx(ksone.cdf(distance, size), abs=1e-10)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(1, 99), min_size=1, max_size=12))
def test_coverage_is_that_of_exact_arithmetic(percents: list[int]) -> None:
    bounds = [Fraction(percent, 100) for percent in sorted(percents)]
    found = coverage(len(bounds), np.arange(1, len(bounds) + 1), np.array(bounds, dtype=np.float64))
    assert found == pytest.approx(float(exact_coverage(bounds)), abs=1e-12)


@pytest.mark.parametrize("size", SIZES[2:])
@pytest.mark.parametrize("confidence", [0.5, 0.9, 0.99])
def test_an_envelope_has_the_confidence_that_was_asked_for(size: int, confidence: float) -> None:
    envelope = fit_envelope(size, confidence)
    by_rank = envelope.p_values(EVERY[size])
    exact = coverage(size, EVERY[size], by_rank)
    assert confidence <= exact <= confidence + 1e-3
    assert exact == pytest.approx(coverage(size, envelope.steps, envelope.bounds), abs=1e-10)
    assert (np.diff(by_rank) >= 0).all()
    assert (by_rank > EVERY[size] / (size + 1)).all()
    assert envelope.p_values(size + 1) == 1
    # No envelope can be below what one rank alone needs.
    assert (by_rank >= beta.ppf(confidence, EVERY[size], size + 1 - EVERY[size]) * (1 - 1e-3)).all()


def test_all_thresholds_hold_in_as_many_calibration_sets() -> None:
    # The false positive rate of p ≤ α is known for each calibration set: the share above a score, which is uniform.
    random, size, confidence, sets = np.random.default_rng(0), 500, 0.9, 4000
    h = fit_envelope(size, confidence).p_values(np.arange(1, size + 1))
    rates = np.sort(random.random((sets, size)), axis=1)  # U_(k): of what scores above the k-th highest
    holds = (rates <= h).all(axis=1).mean()
    assert abs(holds - confidence) <= 3 * math.sqrt(confidence * (1 - confidence) / sets)
    marginal = (rates <= np.arange(1, size + 1) / (size + 1)).all(axis=1).mean()
    assert marginal < 0.05  # the ordinary p-values hold so in hardly any calibration set


def test_it_is_tighter_than_the_envelopes_with_closed_forms() -> None:
    size, delta = 6000, 0.1
    envelope = fit_envelope(size, 1 - delta)
    for rank in (60, 300, 600):
        ours = envelope.p_values(rank)
        dvoretzky_kiefer_wolfowitz = rank / size + math.sqrt(math.log(1 / delta) / (2 * size))
        half = size // 2  # Bates et al. (2023), with k = n/2
        places = np.arange(half)
        simes = 1 - math.exp((math.log(delta) + np.log((size + 1 - rank - places) / (size - places)).sum()) / half)
        assert ours < min(dvoretzky_kiefer_wolfowitz, simes)


def test_large_sets_keep_few_steps() -> None:
    envelope = fit_envelope(200_000, 0.9)
    assert len(envelope.steps) < 1000
    assert envelope.p_values(2000) / 0.01 == pytest.approx(1.07, abs=0.02)
