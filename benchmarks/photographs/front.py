"""AUROC against speed: who is first among methods of the same information, and who lies on the Pareto front.

A method lies on the front if no other is both faster and better, *within error* if the 95% bootstrap interval of the
lead of each faster one holds 0.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from benchmarks.photographs.detector import Floats, Method
from benchmarks.photographs.measure import Result, aurocs, interval, resampled, speed

MARGIN = 0.005  # of AUROC, by which ours may be behind the first


class Point(NamedTuple):
    """A method on a setting."""

    method: str
    speed: float  # images/s of one core
    auroc: float  # mean over kinds and seeds
    resampled: Floats  # the same for bootstrap samples, [R]

    @property
    def interval(self) -> tuple[float, float]:
        """95% of the AUROC."""
        return interval(self.resampled)


def points(by_method: Mapping[str, Sequence[Result]]) -> list[Point]:
    """The methods whose speed is known, fastest first."""
    found = [
        Point(method, each, float(np.mean([aurocs(result).mean() for result in seeds])), resampled(seeds))
        for method, seeds in by_method.items()
        if (each := speed(seeds)) is not None
    ]
    return sorted(found, key=lambda point: -point.speed)


def front(fastest_first: Sequence[Point]) -> list[Point]:
    """Those that no other beats in both."""
    best, found = -np.inf, []
    for point in fastest_first:
        if point.auroc > best:
            best = point.auroc
            found.append(point)
    return found


def ahead(point: Point, fastest_first: Sequence[Point]) -> list[Point]:
    """Faster ones that are better by more than error."""
    faster = [other for other in fastest_first if other.speed > point.speed]
    return [other for other in faster if interval(other.resampled - point.resampled)[0] > 0]


def render(by_method: Mapping[str, Sequence[Result]], methods: Mapping[str, Method], ours: Sequence[str]) -> list[str]:
    """Lines of one setting's table, one for each of ours: AUROC less the best of the same information, and front."""
    known = points(by_method)
    lines = []
    for point in (point for point in known if point.method in ours):
        pretrained = methods[point.method].is_pretrained
        others = [
            each for each in known if each.method not in ours and methods[each.method].is_pretrained == pretrained
        ]
        if not others:
            continue
        first = max(others, key=lambda each: each.auroc)
        lead, (low, high) = point.auroc - first.auroc, interval(point.resampled - first.resampled)
        rank = "first" if lead >= 0 else f"within {MARGIN}" if lead >= -MARGIN else "**behind**"
        better = ahead(point, known)
        place = "on it" if point in front(known) else "within error" if not better else "**behind** "
        place += ", ".join(methods[each.method].title for each in better)
        lead_cell = f"{lead:+.4f} ({low:+.4f} to {high:+.4f})"
        lines.append(
            f"| {methods[point.method].title} | {point.auroc:.4f} | {point.speed:,.0f} | "
            f"{methods[first.method].title}, {first.auroc:.4f} | {lead_cell} | {rank} | {place} |"
        )
    return lines
