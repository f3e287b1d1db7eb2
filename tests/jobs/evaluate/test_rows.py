"""Rows drawn from a set: uniform, and located correctly."""

from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from export.images.contract import ImageContract
from image_files import LAYOUTS, encode, write_parquet
from jobs.evaluate.rows import draw_rows, plan_drawn
from jobs.images.reader import read_images
from jobs.images.source import find_images


@settings(deadline=None)
@given(st.integers(1, 10**9), st.integers(1, 200), st.integers(0, 2**63 - 1))
def test_rows_are_distinct_and_in_order(total: int, wanted: int, seed: int) -> None:
    rows = draw_rows(total, wanted, seed)
    assert len(rows) == min(total, wanted)
    assert (np.diff(rows) > 0).all()
    assert 0 <= rows[0] <= rows[-1] < total
    assert np.array_equal(rows, draw_rows(total, wanted, seed))


def test_rows_are_drawn_uniformly() -> None:
    drawn = np.concatenate([draw_rows(50, 20, seed) for seed in range(2000)])
    counts = np.bincount(drawn, minlength=50)
    assert np.abs(counts - 800).max() < 5 * np.sqrt(800)


def test_drawn_rows_are_located(tmp_path: Path) -> None:
    images = np.arange(70, dtype=np.uint8)[:, None, None, None] * np.ones((1, 1, 4, 4), np.uint8)
    write_parquet(tmp_path / "a.parquet", *LAYOUTS["packed"](images[:30]), row_group_size=8)
    write_parquet(tmp_path / "b.parquet", *LAYOUTS["packed"](images[30:69]), row_group_size=50)
    (tmp_path / "c.png").write_bytes(encode(images[69]))
    found = find_images([str(tmp_path)])
    for wanted in (9, 70, 1000):
        units = plan_drawn(found, wanted, seed=4)
        rows = [each.row for unit in units for each in unit.drawn]
        assert rows == draw_rows(70, wanted, 4).tolist()
        pieces = [each.piece for unit in units for each in unit.drawn]
        ranks = [each.rank for unit in units for each in unit.drawn]
        assert sorted(ranks) == list(range(len(rows)))
        assert len(rows) < 20 or abs(np.corrcoef(rows, ranks)[0, 1]) < 0.3  # a subset by rank is a random one
        batches = list(read_images(pieces, ImageContract(1, 4, 4)))
        assert [int(image[0, 0, 0]) for batch in batches for image in batch.images] == rows
        keys = [key for batch in batches for key in batch.keys["row"].to_pylist()]
        assert keys == [row if row < 30 else row - 30 if row < 69 else 0 for row in rows]
    assert [unit.number for unit in units] == list(range(len(units)))
    unit = max(units, key=lambda each: each.rows)
    assert sum((half.drawn for half in unit.halves()), ()) == unit.drawn
