"""A generalised Pareto tail: p-values beyond the 1/(n + 1) that n calibration images can resolve.

This is a model, not a guarantee. Whatever the distribution of the scores, within wide limits, the excesses over a high
threshold u tend to a generalised Pareto distribution (Balkema & de Haan 1974; Pickands 1975). With K of n calibration
scores above u,

    p(s) = (K + 1)/(n + 1) · (1 + ξ (s − u)/β)^(−1/ξ)      for s > u,

which just above u is the conformal p-value; up to u it is the conformal p-value. The shape ξ is at least 0: with ξ < 0
scores beyond some point would be impossible, which no calibration set can tell of a stranger; ξ = 0 is the exponential.
K is the highest tenth of n, and above n = 1,000 only n^(2/3): a number that grows, for the fit, while the share falls,
so that the limit theorem comes to hold.

ξ and β maximise the likelihood, in one dimension (Grimshaw 1993): given θ = ξ/β it is greatest at ξ = mean log(1 + θy).
Whether the excesses follow the fitted distribution is tested by the statistic of Anderson and Darling, which looks at
the tails (Choulakian & Stephens 2001), against its distribution over samples drawn from the fit and fitted anew. The
outcome is told and stops nothing: of many images the test finds the smallest misfit, of few it overlooks a large one,
and what lies beyond all calibration scores no test can see.
"""

import math
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from export.guarantees.p_values import Scores
from vae_core.errors import UserError

P_VALUE_TAIL = "p_value_tail"
LEAST_EXCESSES = 30
"""From fewer, the shape is known to no better than ± 0.2."""
MISFIT = 0.01
"""A fit is called bad if so large a misfit is rarer than this."""

_REDRAWS = 199
_SMALLEST = np.finfo(np.float64).tiny  # in place of an underflow to 0, which would call a score impossible
_GRID = np.logspace(-4, 4, 33)  # of θ in units of 1/median, which is 2^ξ − 1: ξ up to 13
_GOLDEN = (math.sqrt(5) - 1) / 2
_STEPS = 32  # of the golden section: θ to 1e-7

Array = npt.NDArray[np.float64]
Verdict = Literal["fits", "cautious", "does not fit"]


class Tail(NamedTuple):
    """A fitted tail."""

    threshold: float
    """u, a calibration score."""
    exceedances: int
    """K, the calibration scores above it."""
    rate: float
    """(K + 1)/(n + 1)."""
    shape: float
    """ξ ≥ 0."""
    scale: float
    """β > 0, in units of the score."""
    misfit: float
    """A² of Anderson and Darling."""
    misfit_p_value: float
    """How often data drawn from the fit have a larger one."""

    def p_values(self, scores: npt.ArrayLike, conformal: npt.ArrayLike) -> Array:
        """The p-values of `scores` [N]: those of the model above u, the `conformal` ones [N] up to u. Never 0."""
        p = np.array(conformal, dtype=np.float64)
        excess = np.asarray(scores, dtype=np.float64) - self.threshold
        above = excess > 0
        log_survival = _log_survival(excess[above], np.asarray(self.shape), np.asarray(self.scale))
        p[above] = self.rate * np.exp(log_survival)
        return np.maximum(p, _SMALLEST)

    @property
    def verdict(self) -> Verdict:
        """Whether the calibration scores look like the model.

        "cautious" is a misfit where the best ξ ≥ 0 is 0: the excesses vary less than exponential ones, so far out the
        scores fall off faster than the model, and its p-values are larger than they need be.
        """
        if self.misfit_p_value >= MISFIT:
            return "fits"
        return "cautious" if self.shape == 0 else "does not fit"

    def to_json(self) -> dict[str, Any]:
        """For summary.json."""
        return {"model": "generalised Pareto", **self._asdict(), "verdict": self.verdict}


def fit_tail(calibration: Scores) -> Tail:
    """The tail of sorted `calibration` scores [n].

    Raises:
        UserError: the scores are too few, or too many of the highest are equal.
    """
    size = len(calibration)
    wanted = min(size // 10, round(size ** (2 / 3)))
    if wanted < LEAST_EXCESSES:
        raise UserError(
            f"--tail is not possible with {size} calibration images: the model is fitted to their highest tenth, and "
            f"needs {10 * LEAST_EXCESSES} of them; `vae calibrate` takes more"
        )
    threshold = float(calibration[size - wanted - 1])
    excesses = calibration[size - wanted :].astype(np.float64) - threshold
    excesses = excesses[excesses > 0]
    if len(excesses) < LEAST_EXCESSES:
        raise UserError(
            f"--tail is not possible: of the {wanted} highest calibration scores all but {len(excesses)} are equal; "
            "leave --tail out"
        )
    shape, scale = fit(excesses)
    misfit, p = goodness_of_fit(excesses, shape, scale)
    rate = (len(excesses) + 1) / (size + 1)
    return Tail(threshold, len(excesses), rate, float(shape), float(scale), misfit, p)


def fit(excesses: Array) -> tuple[Array, Array]:
    """ξ ≥ 0 and β of greatest likelihood for each row of positive `excesses` [..., K]; each [...]."""
    unit = np.median(excesses, axis=-1)
    y = excesses / unit[..., None]
    mean = y.mean(axis=-1)

    def log_likelihood(theta: Array) -> Array:  # per excess, at the best ξ for θ
        shape = _shape(theta, y)
        likelihood: Array = np.log(theta / shape) - shape - 1
        return likelihood

    at_grid = np.stack([log_likelihood(np.full_like(mean, theta)) for theta in _GRID])
    best = at_grid.argmax(axis=0)
    low, high = (np.log(_GRID[np.clip(best + step, 0, len(_GRID) - 1)]) for step in (-1, 1))
    for _ in range(_STEPS):
        left, right = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
        falls = log_likelihood(np.exp(left)) > log_likelihood(np.exp(right))
        low, high = np.where(falls, low, left), np.where(falls, right, high)
    theta = np.exp((low + high) / 2)
    shape = _shape(theta, y)
    exponential = log_likelihood(theta) <= -np.log(mean) - 1  # where ξ = 0 and β the mean
    return np.where(exponential, 0, shape), unit * np.where(exponential, mean, shape / theta)


def _shape(theta: Array, y: Array) -> Array:
    shape: Array = np.log1p(theta[..., None] * y).mean(axis=-1)
    return shape


def goodness_of_fit(excesses: Array, shape: Array, scale: Array) -> tuple[float, float]:
    """A² of the `excesses` [K] under their fit, and how often samples drawn from that have as large a one."""
    found = float(_anderson_darling(excesses, shape, scale))
    survival = 1 - np.random.default_rng(0).random((_REDRAWS, len(excesses)))  # in (0, 1]
    # The quantile: y = β (S^(−ξ) − 1)/ξ. With β = 1, since A² does not depend on the unit.
    drawn = -np.log(survival) if shape == 0 else np.expm1(-shape * np.log(survival)) / shape
    redrawn = _anderson_darling(drawn, *fit(drawn))
    return found, (1 + int((redrawn >= found).sum())) / (_REDRAWS + 1)


def _anderson_darling(excesses: Array, shape: Array, scale: Array) -> Array:
    """A² = −K − Σ_i (2i − 1)/K · [log F(y_i) + log S(y_(K+1−i))], over each sorted row of `excesses` [..., K]."""
    count = excesses.shape[-1]
    log_s = _log_survival(np.sort(excesses, axis=-1), shape[..., None], scale[..., None])
    log_f = np.log(-np.expm1(np.minimum(log_s, -_SMALLEST)))
    weights = (2 * np.arange(1, count + 1) - 1) / count
    a_squared: Array = -count - ((log_f + log_s[..., ::-1]) * weights).sum(axis=-1)
    return a_squared


def _log_survival(excess: Array, shape: Array, scale: Array) -> Array:
    """Log S(y) = −log(1 + ξ y/β)/ξ, and −y/β where ξ = 0."""
    y = excess / scale
    safe = np.where(shape == 0, 1, shape)
    log_s: Array = np.where(shape == 0, -y, -np.log1p(safe * y) / safe)
    return log_s
