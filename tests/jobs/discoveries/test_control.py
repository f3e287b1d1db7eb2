"""Benjamini–Hochberg from counters, against the definition; discoveries over many parts."""

import math
from fractions import Fraction
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
from jobs.discoveries.top import TopCounter
from jobs.discoveries.walk import walk


def by_definition(p: np.ndarray, rate: float) -> np.ndarray:
    """Flagged rows by definition: sort, find the last p_(i) ≤ q·i/m, flag all up to it."""
    order = np.argsort(p, kind="stable")
    passing = np.flatnonzero(p[order] <= rate * np.arange(1, len(p) + 1) / len(p) * (1 + 1e-12))
    limit = p[order][passing[-1]] if passing.size else -1.0
    return p <= limit


@settings(deadline=None, max_examples=200)
@given(
    ranks=st.lists(st.integers(1, 51), min_size=1, max_size=60),
    rate=st.sampled_from([0.01, 0.05, 0.1, 0.2, 0.5, 0.99]),
)
def test_counts_flag_the_same_rows_as_the_definition(ranks: list[int], rate: float) -> None:
    p = np.asarray(ranks) / 51
    level = control.benjamini_hochberg(np.bincount(ranks, minlength=52), rate)
    flagged = by_definition(p, rate)
    assert level.discoveries == flagged.sum()
    assert np.array_equal(p <= level.p_value, flagged)


def test_the_false_discovery_rate_holds() -> None:
    # 2,000 inliers and 200 outliers; the share of inliers among the flagged rows, over 200 jobs.
    rng = np.random.default_rng(0)
    shares = []
    for _ in range(200):
        calibration = np.sort(rng.normal(size=1000).astype(np.float32))
        scores = np.concatenate([rng.normal(size=2000), rng.normal(4, 1, size=200)]).astype(np.float32)
        counts = np.bincount(np.rint(p_values(calibration, scores) * 1001).astype(int), minlength=1002)
        level = control.benjamini_hochberg(counts, 0.1)
        flagged = p_values(calibration, scores) <= level.p_value
        shares.append(flagged[:2000].sum() / max(1, flagged.sum()))
    standard_error = np.std(shares) / np.sqrt(len(shares))
    assert np.mean(shares) <= 0.1 * 2000 / 2200 + 3 * standard_error
    assert np.mean(shares) > 0.05  # rows are flagged at all


class Scored(NamedTuple):
    """Scored rows with 99 calibration images, in forty parts, one of them empty."""

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


def counted(scored: Scored, most: int) -> tuple[control.RankCounter, TopCounter]:
    counters = control.RankCounter(len(scored.calibration)), TopCounter(most)
    walk(scored.folder, counters)
    return counters


@pytest.mark.parametrize("most", [100_000, 100])
def test_discoveries_are_the_most_outlying_flagged_rows(
    scored: Scored, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control, "MAX_DISCOVERIES", most)
    ranks, top = counted(scored, most)
    level = control.benjamini_hochberg(ranks.counts, 0.1)
    table = control.gather_discoveries(scored.folder, top, level)
    flagged = np.flatnonzero(by_definition(scored.p.astype(np.float64), 0.1))
    expected = flagged[np.argsort(-scored.scores[flagged], kind="stable")][:most]
    assert level.discoveries == len(flagged) > 400
    assert table["row"].to_pylist() == expected.tolist()


def test_without_discoveries_the_table_is_empty_but_has_columns(scored: Scored) -> None:
    _, top = counted(scored, 10)
    table = control.gather_discoveries(scored.folder, top, control.Level(0.0, 0, 1))
    assert table.column_names == ["row", "outlier_score", "p_value"]
    assert len(table) == 0


@given(st.lists(st.integers(0, 30), min_size=3, max_size=40), st.sampled_from([0.01, 0.1, 0.3, 0.5]))
def test_there_are_no_discoveries_or_at_least_the_minimum(counts: list[int], rate: float) -> None:
    level = control.benjamini_hochberg(np.array([0, *counts]), rate)
    exact = Fraction(sum(counts)) / (Fraction(str(rate)) * len(counts))  # m / (q (n + 1))
    assert level.least == max(1, math.ceil(exact))
    assert level.least == control.least_discoveries(sum(counts), rate, 1 / len(counts))
    assert level.discoveries == 0 or level.discoveries >= level.least
    if counts[0] >= level.least:
        assert level.discoveries >= counts[0]
    assert level.is_possible or counts[0] < level.least


def test_whether_a_discovery_is_possible() -> None:
    counts = np.zeros(802, np.int64)  # n = 800
    counts[[1, 801]] = 312, 999_688
    few = control.benjamini_hochberg(counts, 0.1)
    assert (few.discoveries, few.least, few.is_possible) == (0, 12_485, False)
    counts[[1, 801]] = 12_485, 987_515
    enough = control.benjamini_hochberg(counts, 0.1)
    assert (enough.discoveries, enough.is_possible) == (12_485, True)
    counts[[1, 801]] = 0, 80  # one outlier would suffice, but there is none
    assert control.benjamini_hochberg(counts, 0.1) == control.Level(0.0, 0, 1)
    assert control.Level(0.0, 0, 1).is_possible


@settings(deadline=None, max_examples=200)
@given(
    cells=st.lists(st.tuples(st.sampled_from([0.01, 0.02, 0.021, 0.3, 0.5, 1.0]), st.integers(0, 9)), min_size=2),
    rate=st.sampled_from([0.01, 0.1, 0.5]),
)
def test_counts_of_any_p_values_flag_the_same_rows_as_the_definition(
    cells: list[tuple[float, int]], rate: float
) -> None:
    values, counts = np.array([value for value, _ in cells]), np.array([count for _, count in cells])
    if counts.sum():
        p = np.repeat(values, counts)
        level = control.benjamini_hochberg(counts, rate, values)
        flagged = by_definition(p, rate)
        assert level.discoveries == flagged.sum()
        assert np.array_equal(p <= level.p_value, flagged)


def test_the_share_of_inliers_is_estimated_from_large_p_values() -> None:
    # λ = 50/99: the smallest of k/(n+1) from ½ on. 60 of 200 rows have at least that.
    counts = np.zeros(100, np.int64)  # n = 98
    counts[[1, 30, 50, 99]] = 100, 40, 20, 40
    share = control.storey_share(counts, np.arange(100) / 99)
    assert share == pytest.approx(61 / (200 * (1 - 50 / 99)))


@pytest.mark.parametrize("share", [0.0, 0.3])
def test_an_adaptive_test_holds_its_rate_and_finds_more(share: float) -> None:
    rng = np.random.default_rng(0)
    false, more, estimates, rows, size = [], [], [], 1000, 499
    outliers = round(share * rows)
    for _ in range(300):
        calibration = np.sort(rng.normal(size=size).astype(np.float32))
        scores = rng.normal(size=rows).astype(np.float32)
        scores[:outliers] += 3
        p = p_values(calibration, scores)
        counts = np.bincount(np.rint(p * (size + 1)).astype(int), minlength=size + 2)
        level = control.benjamini_hochberg(counts, 0.2, adaptive=True)
        flagged = p <= level.p_value
        false.append(flagged[outliers:].sum() / max(1, flagged.sum()))
        more.append(level.discoveries - control.benjamini_hochberg(counts, 0.2).discoveries)
        estimates.append(level.inlier_share)
    assert np.mean(false) <= 0.2 + 3 * np.std(false) / 300**0.5
    assert np.mean(estimates) == pytest.approx(1 - share, abs=0.03)
    if share:
        assert np.mean(more) > 10


@pytest.mark.parametrize("adaptive", [False, True])
def test_the_least_rate_is_where_the_test_begins_to_flag(adaptive: bool) -> None:
    rng = np.random.default_rng(5)
    for size in (20, 60):
        for _ in range(30):
            p = np.concatenate([rng.integers(1, size + 2, 80), rng.integers(1, 4, rng.integers(0, 30))])
            counts = np.bincount(p, minlength=size + 2)
            values = np.arange(size + 2) / (size + 1)
            for rank in np.unique(p)[:5]:
                found = control.least_rate(counts, values, values[rank], adaptive)
                level = control.benjamini_hochberg(counts, found.rate * (1 + 1e-9), values, adaptive)
                assert level.p_value >= values[rank] * (1 - 1e-12)
                assert level.discoveries == found.discoveries
                below = control.benjamini_hochberg(counts, found.rate * (1 - 1e-9), values, adaptive)
                assert below.p_value < values[rank]


def test_the_least_rate_over_several_calibration_sets_is_that_of_all_rows() -> None:
    counts = np.array([0, 1, 2, 0, 3, 0, 0, 1, 4, 0, 1])
    values = np.concatenate([np.arange(5) / 4, np.arange(6) / 5])  # those of 3 images and of 4
    for p in values[counts > 0]:
        found = control.least_rate(counts, values, p)
        level = control.benjamini_hochberg(counts, found.rate * (1 + 1e-9), values)
        assert (level.discoveries, level.p_value >= p) == (found.discoveries, True)
        assert control.benjamini_hochberg(counts, found.rate * (1 - 1e-9), values).p_value < p
