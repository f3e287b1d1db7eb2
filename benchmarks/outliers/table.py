"""The study's tables, in Markdown: one line for each method, mean ± standard deviation over the seeds.

Bold: not beaten by more than 0.002 by any method that only needs forward passes.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from benchmarks.outliers.methods.base import Floats

Results = Mapping[str, Sequence[Mapping[str, Any]]]
"""By method, the results of its seeds."""

_CLOSE = 0.002


class Measure(NamedTuple):
    """A metric of the results and its format."""

    key: str
    title: str
    sign: int  # +1 if higher is better
    scale: float
    digits: int


_MEASURES = (Measure("auroc", "AUROC", +1, 1.0, 3), Measure("fpr_at_95_tpr", "FPR@95%TPR, %", -1, 100.0, 1))


def render(results: Results) -> str:
    """Every family by every measure."""
    families = {family: None for seeds in results.values() for result in seeds for family in result["families"]}
    tables = []
    for family in families:
        measured = {name: seeds for name, seeds in results.items() if family in seeds[0]["families"]}
        tables += [_table(measured, family, measure) for measure in _MEASURES]
    return "\n\n".join(tables)


def _table(results: Results, family: str, measure: Measure) -> str:
    sets = list({name: None for seeds in results.values() for result in seeds for name in result["families"][family]})
    values = {name: _values(seeds, family, sets, measure.key) for name, seeds in results.items()}
    forward = [value.mean(0) for name, value in values.items() if not results[name][0]["iterates"]]
    best = np.max([measure.sign * means for means in forward], axis=0, initial=-1.0)
    lines = [
        f"### {family}: {measure.title}",
        "| | " + " | ".join([*sets, "mean", "images/s", "seeds"]) + " |",
        "|---|" + "---:|" * (len(sets) + 3),
    ]
    for name, value in values.items():
        first = results[name][0]
        bold = (measure.sign * value.mean(0) >= best - _CLOSE) & (not first["iterates"])
        cells = [_cell(column, measure, bold[i]) for i, column in enumerate(value.T)]
        speed = float(np.mean([result["images_per_second"] for result in results[name]]))
        cells += [f"{float(f'{speed:.2g}'):,.0f}", str(len(value))]
        lines.append(f"| {first['title']}{' †' if first['iterates'] else ''} | {' | '.join(cells)} |")
    return "\n".join([lines[0], "", *lines[1:]])


def _values(seeds: Sequence[Mapping[str, Any]], family: str, sets: Sequence[str], key: str) -> Floats:
    """One metric of every set, and their mean, for every seed: [seeds, sets + 1]."""
    values = np.array([[result["families"][family][name][key] for name in sets] for result in seeds])
    return np.concatenate([values, values.mean(1, keepdims=True)], axis=1)


def _cell(values: Floats, measure: Measure, bold: bool) -> str:
    values = values * measure.scale
    deviation = f" ± {values.std(ddof=1):.{measure.digits}f}" if len(values) > 1 else ""
    mark = "**" if bold else ""
    return f"{mark}{values.mean():.{measure.digits}f}{deviation}{mark}"
