"""A worker's share: each training row once per epoch, no held-out rows, and exact resumption."""

from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from export.images.contract import ImageContract
from jobs.images.source import find_images
from jobs.train.share import Columns, Share, TrainingImages

CONTRACT = ImageContract(1, 8, 8)
ROWS = 1000
HELD = np.sort(np.random.default_rng(0).choice(ROWS, 150, replace=False))


def packed(rows: npt.NDArray[np.int64]) -> pa.Table:
    """Images whose first pixels encode their row number."""
    images = np.zeros((len(rows), 64), dtype=np.uint8)
    images[:, 0], images[:, 1] = rows // 256, rows % 256
    array = pa.FixedSizeBinaryArray.from_buffers(pa.binary(64), len(rows), [None, pa.py_buffer(images)])
    return pa.table({"image": array}).replace_schema_metadata({"vae.shape": "[1, 8, 8]"})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    pq.write_table(packed(np.arange(0, 370)), tmp_path / "a.parquet", row_group_size=100)
    pq.write_table(packed(np.arange(370, ROWS)), tmp_path / "b.parquet", row_group_size=250)
    return tmp_path


def share(folder: Path, rank: int = 0, workers: int = 1, cache_bytes: int = 10**9, seed: int = 3) -> Share:
    return Share(
        TrainingImages(find_images([str(folder)]).pieces, HELD, CONTRACT),
        rank=rank,
        workers=workers,
        seed=seed,
        cache_bytes=cache_bytes,
        on_errors=lambda errors: pytest.fail(f"errors: {errors.to_pylist()}"),
    )


def rows_of(batches: list[Columns]) -> npt.NDArray[np.int64]:
    rows = np.concatenate([batch["row"] for batch in batches])
    images = np.concatenate([batch["image"] for batch in batches])
    np.testing.assert_array_equal(images[:, 0, 0, 0].astype(int) * 256 + images[:, 0, 0, 1], rows)
    return rows


@pytest.mark.parametrize("workers", [1, 2, 3, 7])
@pytest.mark.parametrize("cache_bytes", [10**9, 1])
def test_the_shares_are_equal_and_cover_the_training_rows_once(folder: Path, workers: int, cache_bytes: int) -> None:
    shares = [share(folder, rank, workers, cache_bytes) for rank in range(workers)]
    sizes = [s.rows for s in shares]
    assert max(sizes) - min(sizes) <= 1
    assert {s.smallest for s in shares} == {min(sizes)}
    seen = np.concatenate([rows_of(list(s.batches(0, 1, s.rows))) for s in shares])
    np.testing.assert_array_equal(np.sort(seen), np.setdiff1d(np.arange(ROWS), HELD))


@pytest.mark.parametrize("cache_bytes", [10**9, 1])
def test_the_order_is_a_function_of_seed_epoch_and_rank(folder: Path, cache_bytes: int) -> None:
    def order(epoch: int, seed: int = 3) -> list[int]:
        return rows_of(list(share(folder, cache_bytes=cache_bytes, seed=seed).batches(epoch, 10, 85))).tolist()

    assert order(0) == order(0)
    assert sorted(order(0)) == sorted(order(1))
    assert order(0) != order(1)
    assert order(0) != order(0, seed=4)
    assert order(0) != sorted(order(0))


@pytest.mark.parametrize("cache_bytes", [10**9, 1])
def test_an_epoch_can_be_entered_at_any_step(folder: Path, cache_bytes: int) -> None:
    whole = list(share(folder, cache_bytes=cache_bytes).batches(2, 32, 26))
    late = list(share(folder, cache_bytes=cache_bytes).batches(2, 32, 26, first_step=17))
    assert len(late) == 9
    for a, b in zip(whole[17:], late, strict=True):
        np.testing.assert_array_equal(a["row"], b["row"])


def test_a_short_share_is_repeated(folder: Path) -> None:
    s = share(folder)
    batches = list(s.batches(0, 100, 12))
    assert len(batches) == 12
    assert all(len(batch["row"]) == 100 for batch in batches)
    assert len(np.unique(rows_of(batches[:8]))) == 800


def test_unreadable_rows_are_reported_once_and_omitted(tmp_path: Path) -> None:
    table = packed(np.arange(200))
    column = table["image"].to_pylist()
    column[17] = None
    array = pa.array(column, pa.binary(64))
    pq.write_table(pa.table({"image": array}, schema=table.schema), tmp_path / "a.parquet", row_group_size=50)
    reported: list[pa.Table] = []
    for cache_bytes in (10**9, 1):
        reported.clear()
        s = Share(
            TrainingImages(find_images([str(tmp_path)]).pieces, np.array([3]), CONTRACT),
            rank=0,
            workers=1,
            seed=0,
            cache_bytes=cache_bytes,
            on_errors=reported.append,
        )
        for epoch in range(2):
            rows = rows_of(list(s.batches(epoch, 1, 198)))
            np.testing.assert_array_equal(np.sort(rows), np.setdiff1d(np.arange(200), [3, 17]))
        assert [row for errors in reported for row in errors["row"].to_pylist()] == [17]


def test_image_files_are_rows_too(tmp_path: Path) -> None:
    for row in range(40):
        image = np.zeros((8, 8), dtype=np.uint8)
        image[0, 1] = row
        cv2.imwrite(str(tmp_path / f"{row:03d}.png"), image)
    s = Share(
        TrainingImages(find_images([str(tmp_path)]).pieces, np.array([5, 39]), CONTRACT),
        rank=0,
        workers=1,
        seed=0,
        cache_bytes=10**9,
        on_errors=lambda errors: pytest.fail("errors"),
    )
    np.testing.assert_array_equal(np.sort(rows_of(list(s.batches(0, 1, 38)))), np.setdiff1d(np.arange(40), [5, 39]))


def test_a_share_without_a_readable_image_is_an_error(tmp_path: Path) -> None:
    array = pa.array([None] * 30, pa.binary(64))
    schema = packed(np.arange(1)).schema
    pq.write_table(pa.table({"image": array}, schema=schema), tmp_path / "a.parquet")
    s = Share(
        TrainingImages(find_images([str(tmp_path)]).pieces, np.array([], dtype=np.int64), CONTRACT),
        rank=0,
        workers=1,
        seed=0,
        cache_bytes=10**9,
        on_errors=lambda errors: None,
    )
    with pytest.raises(ValueError, match="none of the 30 training images of worker 0 can be read"):
        next(s.batches(0, 4, 2))
