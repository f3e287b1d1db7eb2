"""Benjamini–Hochberg from counters, against the definition; discoveries over many parts."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from export.guarantees.p_values import p_values
from export.storage import Folder
from jobs.bulk.commit import part_name
from jobs.discoveries import control
from jobs.discoveries.survey import survey_parts


def by_definition(p: np.ndarray, rate: float) -> np.ndarray:
    """Flagged rows: sort, find the last p_(i) ≤ q·i/m, flag all up to it."""
    order = np.argsort(p, kind="stable")
    passing = np.flatnonzero(p[order] <= rate * np.arange(1, len(p) + 1) / len(p) * (1 + 1e-12))
    limit = p[order][passing[-1]] if passing.size else -1.0
    return p <= limit


@settings(deadline=None, max_examples=200)
@given(
    ranks=st.lists(st.integers(1, 51), min_size=1, max_size=60),
    rate=st.sampled_from([0.01, 0.05, 0.1, 0.2, 0.5, 0.99]),
)
def test_the_counters_flag_what_the_definition_flags(ranks: list[int], rate: float) -> None:
    p = np.asarray(ranks) / 51
    level = control.benjamini_hochberg(np.bincount(ranks, minlength=52), rate)
    flagged = by_definition(p, rate)
    assert level.discoveries == flagged.sum()
    assert np.array_equal(np.asarray(ranks) <= level.rank, flagged)


def test_the_false_discovery_rate_holds() -> None:
    # 2,000 ordinary rows and 200 strangers; the share of ordinary ones among the flagged, over 200 jobs.
    rng = np.random.default_rng(0)
    shares = []
    for _ in range(200):
        calibration = np.sort(rng.normal(size=1000).astype(np.float32))
        scores = np.concatenate([rng.normal(size=2000), rng.normal(4, 1, size=200)]).astype(np.float32)
        counts = np.bincount(np.rint(p_values(calibration, scores) * 1001).astype(int), minlength=1002)
        level = control.benjamini_hochberg(counts, 0.1)
        flagged = np.rint(p_values(calibration, scores) * 1001) <= level.rank
        shares.append(flagged[:2000].sum() / max(1, flagged.sum()))
    standard_error = np.std(shares) / np.sqrt(len(shares))
    assert np.mean(shares) <= 0.1 * 2000 / 2200 + 3 * standard_error
    assert np.mean(shares) > 0.05  # and it is not held by flagging nothing


class Scored(NamedTuple):
    """Scored rows of 99 calibration images, in forty parts of which one is empty."""

    folder: Folder
    calibration: pa.Table
    scores: np.ndarray
    p: np.ndarray


@pytest.fixture
def scored(tmp_path: Path) -> Scored:
    rng = np.random.default_rng(1)
    calibration = np.sort(rng.normal(size=99)).astype(np.float32)
    scores = np.concatenate([rng.normal(size=3000), rng.normal(6, 1, size=500)]).astype(np.float32)
    rng.shuffle(scores)
    p = p_values(calibration, scores).astype(np.float32)
    folder = Folder.at(tmp_path)
    rows = pa.table({"row": np.arange(len(scores)), "outlier_score": scores, "p_value": p})
    for number, chunk in enumerate(np.array_split(np.arange(len(scores)), 39)):
        folder.write_table(part_name(number), rows.slice(int(chunk[0]), len(chunk)))
    folder.write_table(part_name(39), rows.slice(0, 0))
    return Scored(folder, pa.table({"outlier_score": calibration}), scores, p)


@pytest.mark.parametrize("most", [100_000, 100])
def test_discoveries_are_the_most_outlying_flagged_rows(
    scored: Scored, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control, "MOST", most)
    found = survey_parts(scored.folder, scored.calibration, np.linspace(-2, 2, 41), most)
    level = control.benjamini_hochberg(found.ranks, 0.1)
    table = control.gather_discoveries(scored.folder, found.top, level)
    flagged = np.flatnonzero(by_definition(scored.p.astype(np.float64), 0.1))
    expected = flagged[np.argsort(-scored.scores[flagged], kind="stable")][:most]
    assert level.discoveries == len(flagged) > 400
    assert table["row"].to_pylist() == expected.tolist()


def test_without_discoveries_the_table_is_empty_and_has_its_columns(scored: Scored) -> None:
    found = survey_parts(scored.folder, scored.calibration, np.linspace(-2, 2, 41), 10)
    table = control.gather_discoveries(scored.folder, found.top, control.Level(0, 0))
    assert table.column_names == ["row", "outlier_score", "p_value"]
    assert len(table) == 0
