"""Whether the guarantees hold on real scores, and how many calibration images are needed to find outliers.

    python -m benchmarks.guarantees --bundle bundle/ --inliers out/fashion-test --outliers out/mnist > guarantees.json

The scores of the bundle's calibration images and of a scoring job on inliers are pooled, since both are from one
distribution; in every resample a calibration set is drawn from the pool, and the rest is tested:

- the false positive rate: the share of inliers with p ≤ a level, whose mean should be that level;
- the false discovery proportion: inliers among the rows that Benjamini–Hochberg flags, with 1% or 5% outliers among
  the tested; its mean should be at most the requested rate. Power is the share of the outliers found;
- the calibration size at which power reaches 0.95. Among m rows with s outliers, flagging R rows at rate q takes a
  p-value of at most qR/m, and no p-value is below 1/(n + 1): with fewer than about m/(qs) calibration images,
  hardly any outlier is found, however far out. How many more are needed shows how well the scores separate them. With
  infinitely many, 0.95 of the outliers are found if the false positive rate f at that power is small enough,
  (1 − π) f ≤ q (0.95 π + (1 − π) f) with π = s/m; if it is not, no calibration set is large enough.

Then what holds given one calibration set, with `p_value_conditional`; bounds on false discoveries; and with
`--per-class COLUMN`, if the inliers were scored with `--keep COLUMN`, the rate of each class: see
`benchmarks.guarantee_rates`.

Prints JSON, and the same as tables on standard error.
"""

import argparse
import json
import math
import sys
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from benchmarks.guarantee_rates import LEVELS, Labels, bounded, given_one_set, mean, of_each_class
from benchmarks.guarantee_rates import table as table_of_rates
from export.bundle.format import Bundle
from export.guarantees.p_values import p_values, ranks
from export.storage import Folder
from jobs.discoveries.control import benjamini_hochberg

SHARES = (0.01, 0.05)  # of outliers among the tested
RATES = (0.05, 0.1)
POWER = 0.95

Scores = npt.NDArray[np.float32]


class Split(NamedTuple):
    """A calibration set, sorted, and inliers to test, from one pool."""

    calibration: Scores
    inliers: Scores


class Outcome(NamedTuple):
    false_discoveries: float  # the proportion among the flagged
    power: float


def split(pool: Scores, size: int, tested: int, rng: np.random.Generator) -> Split:
    drawn = rng.permutation(pool)
    return Split(np.sort(drawn[:size]), drawn[size : size + tested])


def discover(drawn: Split, outliers: Scores, rate: float) -> Outcome:
    size = len(drawn.calibration)
    rank = ranks(p_values(drawn.calibration, np.concatenate([outliers, drawn.inliers])), size)
    level = benjamini_hochberg(np.bincount(rank, minlength=size + 2), rate)
    found = int((rank[: len(outliers)] <= round(level.p_value * (size + 1))).sum())
    return Outcome((level.discoveries - found) / max(1, level.discoveries), found / len(outliers))


def false_positives(pool: Scores, size: int, resamples: int, rng: np.random.Generator) -> list[dict[str, Any]]:
    found: dict[float, list[float]] = {level: [] for level in LEVELS}
    for _ in range(resamples):
        drawn = split(pool, size, len(pool), rng)
        p = p_values(drawn.calibration, drawn.inliers)
        for level in LEVELS:
            found[level].append(float((p <= level * (1 + 1e-12)).mean()))
    rows = [{"level": level, **mean(values)} for level, values in found.items()]
    return [{**row, "holds": abs(row["mean"] - row["level"]) <= 2 * row["standard_error"]} for row in rows]


def mixtures(
    pool: Scores, outliers: Scores, size: int, tested: int, resamples: int, rng: np.random.Generator
) -> list[dict[str, Any]]:
    """The outcomes in every setting, with `size` calibration images and `tested` inliers."""
    outcomes: dict[tuple[float, float], list[Outcome]] = {(share, rate): [] for share in SHARES for rate in RATES}
    for _ in range(resamples):
        drawn = split(pool, size, tested, rng)
        for share, rate in outcomes:
            count = max(1, round(len(drawn.inliers) * share / (1 - share)))
            hidden = rng.choice(outliers, min(count, len(outliers)), replace=False)
            outcomes[share, rate].append(discover(drawn, hidden, rate))
    return [
        {
            "outliers": share,
            "rate": rate,
            "false_discovery_proportion": (false := mean([each.false_discoveries for each in found])),
            "power": mean([each.power for each in found]),
            "holds": false["mean"] <= rate + 2 * false["standard_error"],
        }
        for (share, rate), found in outcomes.items()
    ]


def sizes(largest: int) -> list[int]:
    """Calibration sizes to try, each about a fifth larger than the one before."""
    steps = int(math.log(largest / 50) / math.log(1.2))
    return sorted({*(round(50 * 1.2**step) for step in range(steps + 1)), largest})


def needed(pool: Scores, outliers: Scores, resamples: int, rng: np.random.Generator) -> list[dict[str, Any]]:
    """For every setting the power by calibration size, and the smallest size from which on it is at least `POWER`.

    A quarter of the pool is tested, whatever the size, so that the settings differ in size alone.
    """
    tested = len(pool) // 4
    reached = float((pool >= np.quantile(outliers, 1 - POWER)).mean())
    curves: dict[tuple[float, float], dict[int, float]] = {(share, rate): {} for share in SHARES for rate in RATES}
    for size in sizes(len(pool) - tested):
        for row in mixtures(pool, outliers, size, tested, resamples, rng):
            curves[row["outliers"], row["rate"]][size] = row["power"]["mean"]
    result = []
    for (share, rate), curve in curves.items():
        short = [size for size, power in curve.items() if power < POWER]
        enough = [size for size in curve if not short or size > max(short)]
        allowed = rate * POWER * share / ((1 - rate) * (1 - share))
        result.append(
            {
                "outliers": share,
                "rate": rate,
                "calibration_images": min(enough) if enough else None,
                "false_positive_rate": reached,
                "false_positive_rate_allowed": allowed,
                "at_least": math.ceil(1 / (rate * share)) - 1,
                "power": [{"calibration_images": size, "power": power} for size, power in curve.items()],
            }
        )
    return result


def read(job: str, bundle: Bundle) -> Scores:
    folder = Folder.at(job)
    if json.loads(folder.read_text("summary.json"))["bundle_hash"] != bundle.hash:
        sys.exit(f"{job} was scored with another bundle; score it with this one")
    scores = folder.child("scores")
    tables = [scores.read_table(name, columns=["outlier_score"]) for name in scores.names()]
    values: Scores = pa.concat_tables(tables)["outlier_score"].to_numpy()
    return values


def read_labels(job: str, column: str) -> Labels:
    scores = Folder.at(job).child("scores")
    tables = [scores.read_table(name, columns=[column]) for name in scores.names()]
    labels: Labels = pa.concat_tables(tables)[column].to_numpy()
    return labels


def measure(
    calibration: Scores, inliers: Scores, outliers: Scores, resamples: int, seed: int, labels: Labels | None = None
) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    size = len(calibration)
    pool = np.concatenate([calibration, inliers])
    return {
        "resamples": resamples,
        "calibration_images": size,
        "inliers_tested": len(inliers),
        "false_positive_rate": false_positives(pool, size, resamples, rng),
        "discoveries": mixtures(pool, outliers, size, len(inliers), resamples, rng),
        "needed": needed(pool, outliers, resamples, rng),
        "given_one_set": given_one_set(pool, size, resamples, rng),
        "bounds": bounded(pool, outliers, size, resamples, rng),
        "classes": [] if labels is None else of_each_class(inliers, labels, resamples, rng),
    }


def table(result: dict[str, Any]) -> str:
    lines = [
        f"{result['resamples']} resamples of {result['calibration_images']:,} calibration images and "
        f"{result['inliers_tested']:,} inliers to test",
        "",
        "| level | false positive rate | within 2 standard errors |",
        "|---|---|---|",
    ]
    for row in result["false_positive_rate"]:
        rate = f"{row['mean']:.5f} ± {row['standard_error']:.5f}"
        lines.append(f"| {row['level']} | {rate} | {'yes' if row['holds'] else 'no'} |")
    lines += [
        "",
        "| outliers | --fdr | false discovery proportion | at most the rate | power | calibration images for "
        f"power {POWER} | of which resolution alone |",
        "|---|---|---|---|---|---|---|",
    ]
    for row, need in zip(result["discoveries"], result["needed"], strict=True):
        false, power = row["false_discovery_proportion"], row["power"]
        lines.append(
            f"| {row['outliers']:.0%} | {row['rate']} | {false['mean']:.4f} ± {false['standard_error']:.4f} | "
            f"{'yes' if row['holds'] else 'no'} | {power['mean']:.4f} ± {power['standard_error']:.4f} | "
            f"{_size(need)} | {need['at_least']:,} |"
        )
    return "\n".join([*lines, table_of_rates(result["given_one_set"], result["classes"], result["bounds"])])


def _size(need: dict[str, Any]) -> str:
    if need["calibration_images"] is not None:
        return f"{need['calibration_images']:,}"
    reached, allowed = need["false_positive_rate"], need["false_positive_rate_allowed"]
    if reached > allowed:
        return f"none is enough: false positive rate {reached:.5f} there, {allowed:.5f} allowed"
    return f"more than {need['power'][-1]['calibration_images']:,}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", required=True)
    parser.add_argument("--inliers", required=True, help="output of `vae score` on in-distribution images")
    parser.add_argument("--outliers", required=True, help="output of `vae score` on outliers")
    parser.add_argument("--per-class", help="column of classes that the inliers were scored with")
    parser.add_argument("--resamples", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    bundle = Bundle.open(options.bundle)
    inliers, outliers = (read(job, bundle) for job in (options.inliers, options.outliers))
    labels = read_labels(options.inliers, options.per_class) if options.per_class else None
    result = measure(bundle.calibration_scores, inliers, outliers, options.resamples, options.seed, labels)
    print(table(result), file=sys.stderr)
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
