"""One pass over the parts tells the same as all scores in memory."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from export.storage import Folder
from jobs.report.digest import digest_errors, digest_scores, empty_histogram, read_rows

RANDOM = np.random.default_rng(0)


def write_scores(folder: Folder, scores: np.ndarray, parts: int) -> None:
    for number, rows in enumerate(np.array_split(np.arange(len(scores)), parts)):
        table = pa.table({"file": ["a"] * len(rows), "row": rows, "outlier_score": scores[rows].astype(np.float32)})
        folder.write_table(f"part-{number:06d}.parquet", table)


@pytest.mark.parametrize("parts", [1, 3, 50])
def test_parts_do_not_matter(tmp_path: Path, parts: int) -> None:
    scores = RANDOM.normal(size=997).astype(np.float32)
    folder = Folder.at(tmp_path)
    write_scores(folder, scores, parts)
    edges = np.linspace(-2, 2, 41)
    digest = digest_scores(folder, edges, 20)
    # Bins are closed on the right, numpy's on the left: mirrored, they agree.
    mirrored, _ = np.histogram(-scores.astype(np.float64), bins=-edges[::-1])
    assert np.array_equal(digest.histogram.counts, mirrored[::-1])
    assert digest.histogram.total == len(scores)
    rows = read_rows(folder, digest.top)
    assert rows["row"].to_pylist() == np.argsort(-scores, kind="stable")[:20].tolist()
    lowest = digest_scores(folder, edges, 20, lowest=True)
    assert read_rows(folder, lowest.top)["row"].to_pylist() == np.argsort(scores, kind="stable")[:20].tolist()
    assert np.array_equal(lowest.histogram.counts, digest.histogram.counts)


def test_ties_go_by_place_and_fewer_rows_than_asked_are_all(tmp_path: Path) -> None:
    folder = Folder.at(tmp_path)
    write_scores(folder, np.ones(6), 3)
    digest = digest_scores(folder, np.array([0.0, 1.0, 2.0]), 10)
    assert read_rows(folder, digest.top)["row"].to_pylist() == list(range(6))
    assert digest.histogram.counts.tolist() == [6, 0]  # a score at an edge is not above it


def test_no_parts_and_empty_parts(tmp_path: Path) -> None:
    folder = Folder.at(tmp_path)
    assert digest_scores(folder, np.array([0.0, 1.0]), 5).top == []
    write_scores(folder, np.zeros(0), 2)
    digest = digest_scores(folder, np.array([0.0, 1.0]), 5)
    assert digest.top == []
    assert digest.histogram.total == 0


def test_nan_is_counted_nowhere_and_ranks_last(tmp_path: Path) -> None:
    folder = Folder.at(tmp_path)
    write_scores(folder, np.array([np.nan, 0.5, np.inf]), 1)
    digest = digest_scores(folder, np.array([0.0, 1.0]), 3)
    assert digest.histogram.total == 1
    assert read_rows(folder, digest.top)["row"].to_pylist() == [2, 1, 0]
    lowest = digest_scores(folder, np.array([0.0, 1.0]), 3, lowest=True)
    assert read_rows(folder, lowest.top)["row"].to_pylist() == [1, 0, 2]


@given(st.lists(st.floats(-10, 10, width=32)), st.lists(st.floats(-10, 10, width=32)))
def test_histograms_merge_as_their_values_do(a: list[float], b: list[float]) -> None:
    empty = empty_histogram(np.linspace(-5, 5, 11))
    first, second = np.array(a, dtype=np.float32), np.array(b, dtype=np.float32)
    together = empty.add(np.concatenate([first, second]))
    apart = empty.add(first).merge(empty.add(second))
    assert np.array_equal(together.counts, apart.counts)
    assert (together.below, together.above) == (apart.below, apart.above)
    assert together.total == len(a) + len(b)


def test_reasons_are_counted_with_an_example(tmp_path: Path) -> None:
    folder = Folder.at(tmp_path)
    folder.write_table(
        "part-000000.parquet", pa.table({"file": ["a", "a", "b"], "row": [1, 2, 3], "reason": ["x", "y", "y"]})
    )
    folder.write_table(
        "part-000003.parquet",
        pa.table({"file": ["c"], "row": pa.array([None], pa.int64()), "reason": ["cut"]}),
    )
    reasons = digest_errors(folder)
    assert [tuple(reason) for reason in reasons] == [("y", 2, "a", 2), ("x", 1, "a", 1), ("cut", 1, "c", None)]
    assert digest_errors(Folder.at(tmp_path / "absent")) == []


def test_errors_without_file_and_row(tmp_path: Path) -> None:
    folder = Folder.at(tmp_path)
    folder.write_table("part-000000.parquet", pa.table({"id": [7], "reason": ["x"]}))
    assert digest_errors(folder)[0].rows == 1
