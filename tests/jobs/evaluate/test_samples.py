"""Columns in memory: all rows or a random sample, independent of the threads that read the parts."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from export.storage import Folder
from jobs.discoveries import walk as walking
from jobs.discoveries.walk import walk
from jobs.evaluate.samples import Columns, SampleCounter

SIZES = [0, 40, 1, 0, 59, 200]


@pytest.fixture
def parts(tmp_path: Path) -> Folder:
    folder, start = Folder.at(tmp_path), 0
    for number, size in enumerate(SIZES):
        values = np.arange(start, start + size, dtype=np.float32)
        folder.write_table(f"part-{number:06d}.parquet", pa.table({"a": values, "b": -values, "other": values}))
        start += size
    return folder


def drawn(parts: Folder, seed: int, limit: int) -> Columns:
    counter = SampleCounter(["b", "a"], seed, limit)
    walk(parts, [counter])
    return counter.sample


@pytest.mark.parametrize("limit", [1, 7, 100, 300, 10_000])
def test_columns_are_sampled_at_the_same_rows(parts: Folder, limit: int) -> None:
    found = drawn(parts, 3, limit)
    assert len(found["a"]) == min(limit, 300)
    assert (np.diff(found["a"]) > 0).all()  # distinct, and in the order of the parts
    assert found["a"].dtype == np.float32
    assert np.array_equal(found["b"], -found["a"])


def test_a_sample_depends_on_the_seed_alone(parts: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = drawn(parts, 3, 20)["a"]
    assert not np.array_equal(drawn(parts, 4, 20)["a"], expected)
    for piece_rows, threads in [(1, 1), (7, 4), (1000, 8)]:
        monkeypatch.setattr(walking, "PIECE_ROWS", piece_rows)
        monkeypatch.setattr("jobs.bulk.commit.cores", lambda threads=threads: threads)
        assert np.array_equal(drawn(parts, 3, 20)["a"], expected)


def test_rows_are_sampled_uniformly(parts: Folder) -> None:
    counts = np.zeros(300)
    for seed in range(300):
        counts[drawn(parts, seed, 60)["a"].astype(int)] += 1
    # Binomial of 300 draws at 1/5: mean 60, standard deviation 6.9.
    assert np.abs(counts - 60).max() < 5 * 6.9
    assert abs(counts[:41].mean() - 60) < 5 * 6.9 / np.sqrt(41)  # of the first parts too


def test_memory_is_bounded(parts: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(walking, "PIECE_ROWS", 5)
    held: list[int] = []

    class Watched(SampleCounter):
        def merge(self, other: SampleCounter) -> None:
            super().merge(other)
            held.append(sum(map(len, self._drawn)))

    walk(parts, [Watched(["a"], 3, limit=10)])
    assert max(held) <= 20
