"""Counting rows beyond limits, over parts and pieces."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from export.storage import Folder
from jobs.discoveries import walk as walk_module
from jobs.discoveries.beyond import BeyondCounter, Limits
from jobs.discoveries.walk import walk


def test_counts_are_those_of_a_comparison(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(walk_module, "PIECE_ROWS", 37)
    rng = np.random.default_rng(0)
    table = pa.table({name: np.round(rng.normal(size=400), 1).astype(np.float32) for name in "ab"})
    table = table.set_column(0, "a", pa.array(np.where(rng.random(400) < 0.05, np.nan, table["a"]), pa.float32()))
    parts = Folder.at(tmp_path)
    for number in range(4):
        parts.write_table(f"part-{number:06d}.parquet", table.slice(100 * number, 100))
    ends = [(-0.5, 0.5), (-np.inf, 1.0), (-1.0, np.inf), (0.3, -0.3), (np.inf, -np.inf), (-np.inf, np.inf)]
    limits = [Limits(column, low, high) for low, high in ends for column in "ab"]
    counter = BeyondCounter(limits)
    walk(parts, [counter])
    for each, count in zip(limits, counter.counts, strict=True):
        values = table[each.column].to_numpy()
        low, high = np.float32(each.low), np.float32(each.high)
        assert count == ((values < low) | (values > high)).sum(), each
