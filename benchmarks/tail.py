"""Coverage of the intervals of `p_value_tail`, where its model is right and where it is not.

    python -m benchmarks.tail [--rounds 1000] [--calibration-images 6000] [--quick]

In every round a calibration set is drawn, the tail is fitted, and the interval is checked at true p-values of 1e-3,
1e-4 and 1e-5. The model is exact for the exponential and the generalised Pareto distribution; for Student's t and for
the normal distribution only in the limit; in a mixture, one in 50 or one in 1,000 scores is from a second, heavier
distribution. Prints a table: how often the interval holds the true p-value, how often it lies below it
(outliers would be called rarer than they are) and above it (the safe side), and the 5%, 50% and 95% quantiles of the
estimate as a multiple of the truth. Also the cost of the columns, in microseconds per score.
"""

import argparse
import time
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from scipy import stats
from scipy.optimize import brentq

from benchmarks.results import save
from export.guarantees.p_values import p_values
from export.guarantees.tail import Tail, fit_tail

LEVELS = (1e-3, 1e-4, 1e-5)

Array = npt.NDArray[np.float64]


class Law(Protocol):
    """The distribution of the scores."""

    def rvs(self, *, size: int, random_state: np.random.Generator) -> Array: ...

    def isf(self, level: float) -> float:
        """The score whose p-value is `level`."""
        ...


class Mixture:
    """Normal scores, of which a `share` is from 3 + 3 |t|, Student's with two degrees of freedom."""

    def __init__(self, share: float) -> None:
        self.share = share

    def rvs(self, *, size: int, random_state: np.random.Generator) -> Array:
        usual = random_state.normal(size=size)
        heavy = 3 + 3 * np.abs(random_state.standard_t(2, size))
        return np.where(random_state.random(size) < self.share, heavy, usual)

    def isf(self, level: float) -> float:
        def excess(score: float) -> float:
            heavy = 2 * stats.t.sf(max(0.0, (score - 3) / 3), 2)
            return float((1 - self.share) * stats.norm.sf(score) + self.share * heavy - level)

        return float(brentq(excess, -10, 1e6))


LAWS: Mapping[str, Law] = {
    "exponential": stats.expon(),
    "generalised Pareto, ξ = 0.2": stats.genpareto(0.2),
    "Student's t, 4 degrees of freedom": stats.t(4),
    "normal": stats.norm(),
    "mixture, 2% heavy": Mixture(0.02),
    "mixture, 0.1% heavy": Mixture(0.001),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=1000)
    parser.add_argument("--calibration-images", type=int, default=6000)
    parser.add_argument("--quick", action="store_true", help="a few rounds: a smoke test")
    options = parser.parse_args()
    rounds = 10 if options.quick else options.rounds
    print("| scores | true p | interval holds | too low | too high | estimate ÷ truth: 5%, 50%, 95% |")
    print("|---|---|---|---|---|---|")
    found = []
    for name, law in LAWS.items():
        for row in measure(law, options.calibration_images, rounds):
            low, middle, high = row["estimate_over_truth"]
            print(
                f"| {name} | {row['p']:.0e} | {row['holds']:.1%} | {row['too_low']:.1%} | {row['too_high']:.1%} | "
                f"{low:.2g}, {middle:.2g}, {high:.2g} |",
                flush=True,
            )
            found.append({"scores": name, **row})
    cost = {
        where: microseconds(options.calibration_images, far) for where, far in (("usual", False), ("far out", True))
    }
    print(", ".join(f"{value:.2f} µs for a score that is {where}" for where, value in cost.items()))
    save("tail", [], rounds=rounds, calibration_images=options.calibration_images, intervals=found, microseconds=cost)


def measure(law: Law, size: int, rounds: int) -> list[dict[str, Any]]:
    """One row for each level."""
    random = np.random.default_rng(0)
    scores = np.array([law.isf(level) for level in LEVELS]).astype(np.float32)
    p, low, high = np.empty((3, rounds, len(LEVELS)))
    for i in range(rounds):
        calibration = np.sort(law.rvs(size=size, random_state=random).astype(np.float32))
        p[i], low[i], high[i] = fit_tail(calibration).p_values(scores, p_values(calibration, scores))
    return [
        {
            "p": level,
            "holds": float(((low[:, j] <= level) & (level <= high[:, j])).mean()),
            "too_low": float((high[:, j] < level).mean()),
            "too_high": float((low[:, j] > level).mean()),
            "estimate_over_truth": (np.quantile(p[:, j], [0.05, 0.5, 0.95]) / level).tolist(),
        }
        for j, level in enumerate(LEVELS)
    ]


def microseconds(size: int, far: bool) -> float:
    """Time per score for the three columns, in a batch of 8,192."""
    random = np.random.default_rng(0)
    calibration = np.sort(random.exponential(size=size).astype(np.float32))
    tail: Tail = fit_tail(calibration)
    scores = random.exponential(size=8192).astype(np.float32) + np.float32(10 * far)
    conformal = p_values(calibration, scores)
    began = time.perf_counter()
    for _ in range(20):
        tail.p_values(scores, conformal)
    return (time.perf_counter() - began) / 20 / len(scores) * 1e6


if __name__ == "__main__":
    main()
