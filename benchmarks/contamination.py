"""What outliers among the calibration images cost, and what a review of the highest scores restores.

    python -m benchmarks.contamination --bundle bundle/ --inliers out/fashion-test --outliers out/mnist

The scores of the bundle's calibration images and of a scoring job on inliers are pooled. In each resample, calibration
sets are drawn from the pool and from the scores of a job on outliers, with 1%, 5% or 10% outliers; other inliers and
outliers are tested. A calibration set is then

- taken as it is;
- reviewed: of the 100, 300 or 1,000 highest scores, the outliers are removed (`vae calibrate --review`);
- reviewed with mistakes: of the 1,000 highest scores, the 30 highest ordinary ones are removed too;
- reviewed (1,000), and as many ordinary images as it has are added, picked by hand: with scores below the median;
- cleaned of all outliers, which nobody can do.

Printed are the false positive rate and the power at p ≤ 0.01, and, for a tested set with 5% outliers, the power and the
false discovery proportion of discoveries at the rate 0.1.
"""

import argparse
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from benchmarks.guarantee_rates import mean
from benchmarks.guarantees import Outcome, Split, discover, read
from export.bundle.format import Bundle
from export.guarantees.p_values import p_values

SHARES = (0.01, 0.05, 0.10)  # of outliers in the calibration set
JUDGED = (100, 300, 1000)
MISTAKES = 30
LEVEL, RATE, HIDDEN = 0.01, 0.1, 0.05

Scores = npt.NDArray[np.float32]
Flags = npt.NDArray[np.bool_]


def review(scores: Scores, is_outlier: Flags, judged: int, mistakes: int = 0) -> Scores:
    """The scores that are kept, if of the `judged` highest all outliers and the highest `mistakes` others go."""
    highest = np.argsort(-scores, kind="stable")[:judged]
    ordinary = highest[~is_outlier[highest]]
    return np.delete(scores, np.concatenate([highest[is_outlier[highest]], ordinary[:mistakes]]))


def calibration_sets(inliers: Scores, outliers: Scores, spare: Scores) -> Iterator[tuple[str, Scores]]:
    """The sets to compare, by name; `spare` are ordinary images to pick from."""
    scores = np.concatenate([inliers, outliers])
    is_outlier = np.arange(len(scores)) >= len(inliers)
    yield "as it is", scores
    for judged in JUDGED:
        yield f"{judged:,} judged", review(scores, is_outlier, judged)
    yield f"{JUDGED[-1]:,} judged, {MISTAKES} ordinary ones removed", review(scores, is_outlier, JUDGED[-1], MISTAKES)
    kept = review(scores, is_outlier, JUDGED[-1])
    easy = spare[spare < np.median(spare)]
    yield (
        f"{JUDGED[-1]:,} judged, as many picked ordinary ones added",
        np.concatenate([kept, np.resize(easy, len(kept))]),
    )
    yield "without outliers", inliers


def measure(
    pool: Scores, outliers: Scores, size: int, share: float, rng: np.random.Generator
) -> dict[str, list[float]]:
    """False positive rate, power, and false discovery proportion and power of discoveries, by kind of set."""
    ordinary, strange = rng.permutation(pool), rng.permutation(outliers)
    hidden = round(size * share)
    own, rest = ordinary[: size - hidden], ordinary[size - hidden :]
    tested, spare = rest[: len(rest) // 2], rest[len(rest) // 2 :]
    found = {}
    for name, scores in calibration_sets(own, strange[:hidden], spare):
        reference = np.sort(scores)
        false, true = ((p_values(reference, each) <= LEVEL).mean() for each in (tested, strange[hidden:]))
        few = strange[hidden:][: round(len(tested) * HIDDEN / (1 - HIDDEN))]
        outcome: Outcome = discover(Split(reference, tested), few, RATE)
        found[name] = [float(false), float(true), *outcome]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", required=True)
    parser.add_argument("--inliers", required=True, help="output of `vae score` on in-distribution images")
    parser.add_argument("--outliers", required=True, help="output of `vae score` on outliers")
    parser.add_argument("--resamples", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    bundle = Bundle.open(options.bundle)
    inliers, outliers = (read(job, bundle) for job in (options.inliers, options.outliers))
    pool, size = np.concatenate([bundle.calibration_scores, inliers]), len(bundle.calibration_scores)
    rng = np.random.default_rng(options.seed)
    print(f"{options.resamples} resamples of {size:,} calibration images; p ≤ {LEVEL}, --fdr {RATE}\n")
    print("| outliers | calibration set | false positive rate | power | false discovery proportion | power |")
    print("|---|---|---|---|---|---|")
    for share in SHARES:
        rounds = [measure(pool, outliers, size, share, rng) for _ in range(options.resamples)]
        for name in rounds[0]:
            columns = [mean(list(values)) for values in zip(*(each[name] for each in rounds), strict=True)]
            cells = [f"{each['mean']:.4f} ± {each['standard_error']:.4f}" for each in columns]
            print(f"| {share:.0%} | {name} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
