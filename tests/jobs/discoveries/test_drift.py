"""Drift: the distance by brute force, false alarm rates by simulation, parts against all rows."""

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from export.guarantees.p_values import p_values
from export.storage import Folder
from jobs.bulk.commit import part_name
from jobs.discoveries import drift
from jobs.discoveries.control import RankCounter
from jobs.discoveries.drift import (
    Difference,
    Drift,
    StatisticCounter,
    calibration_edges,
    count,
    difference,
    edges_of,
    holm,
    kolmogorov,
    measure_drift,
    overall_verdict,
    small_p_values,
)
from jobs.discoveries.walk import walk
from jobs.report.blocks import Table
from jobs.report.sections.drift import drift_section

few = st.lists(st.integers(-6, 6), min_size=1, max_size=40)


def compared(calibration: np.ndarray, values: np.ndarray) -> Difference:
    edges = edges_of(calibration)
    return difference("kl", edges, count(edges, calibration), count(edges, values))


def by_definition(calibration: np.ndarray, values: np.ndarray) -> float:
    points = np.concatenate([calibration, values])
    gaps = [abs((calibration <= x).mean() - (values <= x).mean()) for x in points]
    return max(gaps)


def normal(random: np.random.Generator, size: int) -> np.ndarray:
    return random.normal(size=size).astype(np.float32)


@settings(deadline=None, max_examples=200)
@given(few, few)
def test_the_distance_matches_its_definition(calibration: list[int], values: list[int]) -> None:
    # Many ties, and values between the edges.
    reference, sample = np.array(calibration, np.float32), np.array(values, np.float32) / 2
    found = compared(reference, sample)
    assert found.distance == pytest.approx(by_definition(reference, sample), abs=1e-12)
    # The gap occurs at the reported value, just above or just below it.
    gap = abs(found.share_above - found.calibration_share_above)
    assert gap == pytest.approx(found.distance, abs=1e-12)
    assert found.share_above in (pytest.approx((sample > found.at).mean()), pytest.approx((sample >= found.at).mean()))


def test_with_many_calibration_images_the_distance_is_nearly_exact() -> None:
    random = np.random.default_rng(0)
    reference, sample = normal(random, 10_000), normal(random, 3_000) + np.float32(0.1)
    places = np.concatenate([reference, sample])
    f, g = (np.searchsorted(np.sort(each), places, side="right") / len(each) for each in (reference, sample))
    exact, found = np.abs(f - g).max(), compared(reference, sample).distance
    assert exact - 1 / drift.EDGES <= found <= exact


@pytest.mark.parametrize(("level", "limit"), [(0.10, 1.2238), (0.05, 1.3581), (0.01, 1.6276)])
def test_the_limit_distribution_has_its_published_quantiles(level: float, limit: float) -> None:
    size = 10**10
    assert kolmogorov(limit / (size / 2) ** 0.5, size, size) == pytest.approx(level, rel=1e-3)


def test_extreme_distances() -> None:
    p = [kolmogorov(d, 500, 3000) for d in np.linspace(0, 1, 200)]
    assert p[0] == 1.0
    assert all(a >= b for a, b in pairwise(p))
    assert 0.0 <= p[-1] < 1e-100


def test_the_false_alarm_rate_is_the_p_value() -> None:
    random = np.random.default_rng(1)
    p = np.array([compared(normal(random, 300), normal(random, 700)).p_value for _ in range(2000)])
    for level in (0.01, 0.05, 0.2):
        error = (level * (1 - level) / len(p)) ** 0.5
        assert level - 3 * error - 0.1 * level <= (p <= level).mean() <= level + 3 * error


def test_holm_corrects_as_published() -> None:
    # A textbook example of Holm's procedure: ×4, ×3, ×2, ×1, and non-decreasing.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


@pytest.mark.parametrize(
    ("scale", "shift", "direction"),
    [(1, 0.5, "higher"), (1, -0.5, "lower"), (3, 0, "wider"), (0.3, 0, "narrower"), (1, 0, "the same")],
)
def test_directions(scale: float, shift: float, direction: str) -> None:
    reference = np.linspace(-1, 1, 999).astype(np.float32)
    assert compared(reference, (reference * scale + shift).astype(np.float32)).direction == direction


def a_difference(distance: float, p_value: float) -> Difference:
    return Difference("kl", distance, p_value, "higher", 1.0, 0.5 + distance, 0.5)


def test_the_verdict_depends_on_significance_and_then_on_size() -> None:
    assert overall_verdict([a_difference(0.4, 0.2), a_difference(0.02, 0.5)]) == "like the calibration images"
    assert overall_verdict([a_difference(0.4, 0.2), a_difference(0.02, 1e-9)]) == "slightly different"
    assert overall_verdict([a_difference(0.2, 1e-3), a_difference(0.02, 0.5)]) == "clearly different"


def test_small_p_values_are_counted() -> None:
    counts = np.zeros(102, np.int64)  # n = 100
    counts[[1, 2, 5, 6, 101]] = [3, 1, 1, 1, 4]
    found = {each.at_most: each for each in small_p_values(counts)}
    assert set(found) == {0.01, 0.05, 0.1, 0.5}
    assert found[0.01].share == pytest.approx(0.3)
    assert found[0.05].share == pytest.approx(0.5)
    assert found[0.05].expected == pytest.approx(5 / 101)
    assert {each.at_most for each in small_p_values(np.ones(12, np.int64))} == {0.1, 0.5}  # n = 10


@pytest.fixture
def calibration() -> pa.Table:
    random = np.random.default_rng(2)
    scores = np.sort(normal(random, 500))
    constant = np.full(500, 7, np.float32)
    endless = np.full(500, np.inf, np.float32)
    columns = {"kl": normal(random, 500), "flat": constant, "endless": endless, "outlier_score": scores}
    return pa.table({**columns, "image": pa.nulls(500, pa.binary())})


def drift_of(scores: Folder, calibration: pa.Table) -> Drift:
    ranks, statistics = RankCounter(len(calibration)), StatisticCounter(calibration_edges(calibration))
    walk(scores, [ranks, statistics])
    return measure_drift(statistics.counts, calibration, ranks.counts)


def parts(folder: Path, calibration: pa.Table, shift: float) -> tuple[Folder, dict[str, np.ndarray]]:
    """Thirty parts with 4,000 rows in total, one of them empty; and the columns."""
    random = np.random.default_rng(3)
    scores = normal(random, 4000) + np.float32(shift)
    columns = {"outlier_score": scores, "kl": normal(random, 4000), "flat": np.full(4000, 7, np.float32)}
    columns["endless"] = np.full(4000, np.inf, np.float32)
    columns["kl"][17] = np.nan
    p = p_values(calibration["outlier_score"].to_numpy(), scores)
    table = pa.table({"row": np.arange(4000), **columns, "p_value": p.astype(np.float32)})
    output = Folder.at(folder)
    for number, rows in enumerate(np.array_split(np.arange(4000), 29)):
        output.write_table(part_name(number), table.slice(int(rows[0]), len(rows)))
    output.write_table(part_name(29), table.slice(0, 0))
    return output, columns


def test_parts_give_the_same_as_all_rows(tmp_path: Path, calibration: pa.Table) -> None:
    scores, columns = parts(tmp_path, calibration, 0.4)
    found = drift_of(scores, calibration)
    by_name = {each.statistic: each for each in found.differences}
    assert set(by_name) == {"kl", "flat", "outlier_score"}  # non-finite statistics are omitted
    for name, each in by_name.items():
        assert each.distance == compared(calibration[name].to_numpy(), columns[name]).distance
    assert by_name["flat"].distance == 0
    assert [each.distance for each in found.differences] == sorted((d.distance for d in by_name.values()), reverse=True)
    assert (found.verdict, found.differences[0].statistic) == ("clearly different", "outlier_score")
    assert found.differences[0].direction == "higher"
    found_json = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert found_json["verdict"] == "clearly different"
    assert found_json["statistics"][0]["share_above"] == found.differences[0].share_above
    assert [each["at_most"] for each in found_json["p_values"]] == list(drift.LEVELS)


def test_images_like_the_calibration_images_show_no_drift(tmp_path: Path, calibration: pa.Table) -> None:
    scores, _ = parts(tmp_path, calibration, 0.0)
    assert drift_of(scores, calibration).verdict == "like the calibration images"


def test_the_report_states_the_verdict(tmp_path: Path, calibration: pa.Table) -> None:
    for shift, words in [
        (0.0, "Yes: over 4,000 images, no statistic differs significantly"),
        (0.5, "No: it differs clearly from the 500"),
    ]:
        scores, _ = parts(tmp_path / str(shift), calibration, shift)
        found = drift_of(scores, calibration)
        section = drift_section(found, 4000, 500)
        table = section.blocks[0]
        assert isinstance(table, Table)
        assert words in section.lead
        assert [row[0] for row in table.rows] == [each.statistic for each in found.differences]
        assert [float(row[1]) for row in table.rows] == pytest.approx(
            [each.distance for each in found.differences], abs=5e-4
        )
