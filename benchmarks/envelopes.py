"""Conditional p-values by several envelopes: what each makes of a p-value, and the confidence that it really has.

    python -m benchmarks.envelopes

An envelope turns p = k/(n + 1) into a p-value that holds given the calibration set with a confidence of 1 − δ; the
smaller, the better (`export.guarantees.envelope`). Compared are those of Bates et al. (2023): generalised Simes with
k = n/2, Dvoretzky–Kiefer–Wolfowitz, and the asymptotic one from the law of the iterated logarithm.
"""

import argparse
import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from export.guarantees.envelope import coverage, fit_envelope

LEVELS = (0.001, 0.01, 0.05)
SIZES = (500, 2000, 6000)

Array = npt.NDArray[np.float64]


def ours(size: int, delta: float) -> Array:
    return fit_envelope(size, 1 - delta).p_values(np.arange(1, size + 1))


def simes(size: int, delta: float) -> Array:
    """1 − (δ Π_j (n + 1 − k − j)/(n − j))^(1/h), j = 0…h−1, with h = n/2; 1 from rank n − h + 2 on."""
    half = size // 2
    logarithms = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, size + 1)))])  # log i!
    left = size + 1 - np.arange(1, size - half + 2)  # n + 1 − k
    power = (math.log(delta) + logarithms[left] - logarithms[left - half]) / half
    power -= (logarithms[size] - logarithms[size - half]) / half
    return np.concatenate([1 - np.exp(power), np.ones(half - 1)])


def dvoretzky_kiefer_wolfowitz(size: int, delta: float) -> Array:
    margin = math.sqrt(math.log(2 / delta) / (2 * size))
    return np.minimum(1, np.arange(1, size + 1) / (size + 1) + margin)


def asymptotic(size: int, delta: float) -> Array:
    twice = math.log(math.log(size))
    factor = -math.log(-math.log(1 - delta)) + 2 * twice + 0.5 * math.log(twice) - 0.5 * math.log(math.pi)
    share = np.arange(1, size + 1) / size
    margin = factor / math.sqrt(2 * twice) * np.sqrt(share * (1 - share) / size)
    return np.minimum(1, share + margin)


ENVELOPES: dict[str, Callable[[int, float], Array]] = {
    "ours": ours,
    "Simes": simes,
    "asymptotic": asymptotic,
    "Dvoretzky–Kiefer–Wolfowitz": dvoretzky_kiefer_wolfowitz,
}


def table(delta: float) -> str:
    lines = [
        "| calibration images | envelope | confidence | " + " | ".join(f"p = {level}" for level in LEVELS) + " |",
        "|---|---|---|" + "---|" * len(LEVELS),
    ]
    for size in SIZES:
        for name, envelope in ENVELOPES.items():
            bounds = envelope(size, delta)
            confidence = coverage(size, np.arange(1, size + 1), bounds)
            ranks = [int(level * (size + 1) * (1 + 1e-12)) for level in LEVELS]
            cells = [f"{bounds[rank - 1]:.5f}" if rank else "not possible" for rank in ranks]
            lines.append(f"| {size:,} | {name} | {confidence:.3f} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--confidence", type=float, default=0.9)
    print(table(1 - parser.parse_args().confidence))


if __name__ == "__main__":
    main()
