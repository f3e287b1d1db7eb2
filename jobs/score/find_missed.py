"""Find the images of --missed among all rows, and what would have flagged them.

An image is flagged from the false positive rate on that is its p-value, and from the false discovery rate on that is
its p-value as Benjamini and Hochberg adjust it. Where both would flag too much else, one thing about the image may be
unusual: a statistic, which the score weighs against all others, or the surprise at one place, which is a small part of
the whole image's. Each is compared with the calibration images by itself.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from export.guarantees.p_values import P_VALUE, SCORE, ranks
from export.runtime.scorer import Scorer
from jobs.bulk.commit import part_name
from jobs.discoveries.beyond import BeyondCounter, Limits
from jobs.discoveries.control import least_rate
from jobs.discoveries.top import Place, read_rows
from jobs.images.listed import Finder, Listed
from jobs.report.sections.bundle import calibration_images
from jobs.score.decision import Decision
from jobs.score.explain.explanation import Explanation
from jobs.score.explain.reasons import highest_place
from jobs.score.explain.write import explain_rows
from jobs.score.missed import OUTLIER, STATISTIC, SURPRISE, Missed, MissedSummary
from jobs.score.plan import ScoreJob

Values = npt.NDArray[np.float32]


class Unusual(NamedTuple):
    """The statistic in which an image is farthest out among the calibration images."""

    statistic: str
    value: float
    p_value: float
    """Two-sided, of this statistic alone."""
    limits: Limits
    """The values that are as far out, or farther."""


class MissedRows:
    """The rows of the scores of the listed images; counts over all rows come from a walk with `counter`."""

    def __init__(self, job: ScoreJob) -> None:
        """Find the rows in the parts of a job that has all of them."""
        listed, finder = job.missed, Finder(job.missed)
        self._job, found = job, dict[int, Place]()
        for unit in _units(job, listed):
            keys = job.parts.read_table(part_name(unit), columns=["file", "row"])
            indices = finder.find(keys["file"], keys["row"].to_numpy())
            found |= {int(indices[at]): Place(unit, int(at)) for at in np.flatnonzero(indices >= 0)}
        self._places = [found[index] for index in sorted(found)]
        self._not_scored = [each for index, each in enumerate(listed) if index not in found]
        self._table = read_rows(job.parts, self._places) if found else None
        self._rows: list[dict[str, Any]] = [] if self._table is None else self._table.to_pylist()
        names = [each.name for each in job.bundle.statistics]
        calibration = {name: np.sort(job.bundle.calibration[name].to_numpy()) for name in names}
        self._unusual = [most_unusual(row, calibration) for row in self._rows]
        scores = [Limits(SCORE, -np.inf, row[SCORE]) for row in self._rows]
        self.counter = BeyondCounter([*scores, *(each.limits for each in self._unusual)])

    def describe(self, decision: Decision, shown: int) -> tuple[MissedSummary, list[Explanation]]:
        """All that is known of the images, after the walk; and the explanations of the first `shown` by rank."""
        job, above = self._job, self.counter.counts[: len(self._rows)]
        surprises, explanations = self._surprises()
        references = job.classes.references
        counts, values = np.concatenate(decision.counts), np.concatenate([each.values for each in references])
        found = []
        for index, (row, unusual) in enumerate(zip(self._rows, self._unusual, strict=True)):
            p = self._p_value(row)
            rate, discoveries = least_rate(counts, values, p, job.options.storey)
            place, surprise, share = surprises.get(index, (None, None, None))
            by = {
                OUTLIER: bool(row["is_outlier"]),
                STATISTIC: unusual.p_value * len(job.bundle.statistics) <= job.options.fpr,
                SURPRISE: share is not None and share <= job.options.fpr,
            }
            found.append(
                Missed(
                    file=row["file"],
                    row=row["row"],
                    rank=1 + int(above[index]),
                    outlier_score=row[SCORE],
                    p_value=p,
                    flagged=sum(decision.flagged(each, i, p) for i, each in enumerate(references)),
                    is_outlier=bool(row["is_outlier"]),
                    fdr=rate,
                    discoveries=discoveries,
                    is_discovery=p <= decision.level.p_value * (1 + 1e-12),
                    statistic=unusual.statistic,
                    statistic_value=unusual.value,
                    statistic_p_value=unusual.p_value,
                    statistic_rows=int(self.counter.counts[len(self._rows) + index]),
                    surprise=surprise,
                    place=place,
                    surprise_p_value=share,
                    found_by=[name for name, flags in by.items() if flags],
                )
            )
        order = sorted(range(len(found)), key=lambda index: found[index].rank)
        first = [explanations[i]._replace(rank=found[i].rank) for i in order if i in explanations][:shown]
        return MissedSummary([found[i] for i in order], self._not_scored), first

    def _p_value(self, row: Mapping[str, Any]) -> float:
        """What decides, in float64."""
        job = self._job
        if job.significance.column != P_VALUE:
            return float(row[job.significance.column])
        everything = job.classes.everything
        return float(everything.values[ranks(np.array(row[P_VALUE]), everything.size)])

    def _surprises(self) -> tuple[dict[int, tuple[str, float, float]], dict[int, Explanation]]:
        """By index: where the surprise is largest, how large, and its p-value; and the explanation."""
        if self._table is None:
            return {}, {}
        bundle = self._job.bundle
        scorer = Scorer(bundle, provider="cpu")
        usual = np.sort(scorer.surprise(calibration_images(bundle)).max(axis=(1, 2)))
        statistics = [each.name for each in bundle.statistics]
        rows = self._table.select([name for name in self._table.schema.names if name not in statistics])
        found, explanations = {}, {}
        for each in self._explained(rows):
            # With tiles, calibration images are represented by their worst ones.
            surprise = each.surprise if each.tile is None else scorer.surprise(each.tile[None])
            top = float(surprise.max())
            share = (1 + len(usual) - int(np.searchsorted(usual, top))) / (len(usual) + 1)
            found[each.rank - 1] = highest_place(each.surprise), top, share
            explanations[each.rank - 1] = each
        return found, explanations

    def _explained(self, rows: pa.Table) -> Iterator[Explanation]:
        for explanations, _ in explain_rows(self._job, self._places, rows):
            yield from explanations


def most_unusual(row: Mapping[str, Any], calibration: Mapping[str, Values]) -> Unusual:
    """The statistic of a row with the smallest p-value; of equal ones, the most standard deviations from the median.

    Args:
        row: values of all statistics.
        calibration: those of the calibration images, ascending [n].
    """
    found = []
    for name, ordered in calibration.items():
        value, size = np.float32(row[name]), len(ordered)
        above = size - int(np.searchsorted(ordered, value, side="left"))
        below = int(np.searchsorted(ordered, value, side="right"))
        beyond = min(above, below)  # as far out
        p = min(1.0, 2 * (1 + beyond) / (size + 1))
        low, high = (ordered[beyond], ordered[size - 1 - beyond]) if beyond < size else (np.inf, -np.inf)
        deviation = abs(value - np.median(ordered)) / max(float(ordered.std()), 1e-12)
        found.append((p, -float(deviation), Unusual(name, float(value), p, Limits(name, float(low), float(high)))))
    return min(found, key=lambda each: each[:2])[2]


def _units(job: ScoreJob, listed: Sequence[Listed]) -> list[int]:
    """The numbers of the units that listed rows are in."""
    rows = defaultdict[str, list[int]](list)
    for each in listed:
        rows[each.file].append(each.row)
    return [
        unit.number
        for unit in job.units
        if any(0 <= row - piece.first_row < piece.rows for piece in unit.pieces for row in rows.get(piece.file, ()))
    ]
