"""A walk over parts equals a computation on all rows in memory, for any division into parts and pieces."""

import threading
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from export.guarantees.p_values import p_values
from export.storage import Folder
from jobs.bulk.commit import part_name
from jobs.discoveries import walk as walking
from jobs.discoveries.control import RankCounter
from jobs.discoveries.drift import StatisticCounter, calibration_edges, count
from jobs.discoveries.histogram import HistogramCounter
from jobs.discoveries.top import TopCounter, read_rows
from jobs.discoveries.walk import Piece, walk

SIZE, ROWS = 99, 3000
EDGES = np.linspace(-2, 2, 41)


def normal(seed: int, size: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=size).astype(np.float32)


CALIBRATION = pa.table({"kl": normal(1, SIZE), "outlier_score": np.sort(normal(2, SIZE))})


def table(scores: np.ndarray) -> pa.Table:
    p = p_values(CALIBRATION["outlier_score"].to_numpy(), scores).astype(np.float32)
    columns = {"row": np.arange(len(scores)), "kl": normal(3, len(scores)), "outlier_score": scores, "p_value": p}
    return pa.table(columns).replace_schema_metadata({"vae.provider": "cpu"})


def write(folder: Path, rows: pa.Table, parts: int) -> Folder:
    output = Folder.at(folder)
    for number, chunk in enumerate(np.array_split(np.arange(len(rows)), parts)):
        output.write_table(part_name(number), rows.slice(int(chunk[0]) if len(chunk) else 0, len(chunk)))
    return output


class Order:
    """Records the rows in merge order, and the threads that read them."""

    columns = ("row",)

    def __init__(self) -> None:
        self.rows: list[int] = []
        self.pieces: list[tuple[int, int]] = []
        self.threads: set[int] = set()

    def fresh(self) -> "Order":
        return Order()

    def add(self, piece: Piece) -> None:
        self.rows += piece.values("row").tolist()
        self.pieces.append((piece.unit, piece.offset))
        self.threads.add(threading.get_ident())

    def merge(self, other: "Order") -> None:
        self.rows += other.rows
        self.pieces += other.pieces
        self.threads |= other.threads


@pytest.mark.parametrize("parts", [1, 7, 80])
@pytest.mark.parametrize("piece_rows", [10, 1 << 16])
@pytest.mark.parametrize("most", [0, 1, 20, ROWS + 5])
def test_parts_give_the_same_as_all_rows(
    tmp_path: Path, parts: int, piece_rows: int, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(walking, "PIECE_ROWS", piece_rows)
    rows = table(normal(4, ROWS).round(1))  # with many ties
    scores = write(tmp_path, rows, parts)
    ranks, statistics = RankCounter(SIZE), StatisticCounter(calibration_edges(CALIBRATION))
    histogram, highest, lowest = HistogramCounter("kl", EDGES), TopCounter(most), TopCounter(most, lowest=True)
    found = walk(scores, [ranks, statistics, histogram, highest, lowest])
    p, outlier_score, kl = (rows[name].to_numpy() for name in ("p_value", "outlier_score", "kl"))
    assert (found.parts, found.rows, found.metadata) == (parts, ROWS, {"vae.provider": {"cpu"}})
    assert np.array_equal(ranks.counts, np.bincount(np.rint(p.astype(np.float64) * 100).astype(int), minlength=101))
    assert set(statistics.counts) == {"kl", "outlier_score"}
    for name, edges in calibration_edges(CALIBRATION).items():
        assert np.array_equal(statistics.counts[name], count(edges, rows[name].to_numpy()))
    # Our bins are closed on the right, numpy's on the left: mirrored, they agree.
    mirrored, _ = np.histogram(-kl.astype(np.float64), bins=-EDGES[::-1])
    assert np.array_equal(histogram.histogram.counts, mirrored[::-1])
    assert histogram.histogram.total == ROWS
    for top, order in [
        (highest, np.argsort(-outlier_score, kind="stable")),
        (lowest, np.argsort(outlier_score, kind="stable")),
    ]:
        places = top.places(most)
        assert len(places) == min(most, ROWS)
        if places:
            assert read_rows(scores, places)["row"].to_pylist() == order[:most].tolist()
            assert top.places(1) == places[:1]


def test_rows_are_merged_in_order_by_any_number_of_threads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jobs.bulk.commit.cores", lambda: 8)
    monkeypatch.setattr(walking, "PIECE_ROWS", 10)
    order = Order()
    walk(write(tmp_path, table(normal(4, ROWS)), 100), [order])
    assert order.rows == list(range(ROWS))
    assert order.pieces == [(unit, offset) for unit in range(100) for offset in (0, 10, 20)]
    assert len(order.threads) > 1


def test_ties_are_ordered_by_location(tmp_path: Path) -> None:
    scores = write(tmp_path, table(np.ones(ROWS, np.float32)), 50)
    for top in (TopCounter(70), TopCounter(70, lowest=True)):
        walk(scores, [top])
        assert read_rows(scores, top.places(70))["row"].to_pylist() == list(range(70))


def test_memory_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(walking, "PIECE_ROWS", 10)
    held: list[int] = []

    class Watched(TopCounter):
        def merge(self, other: TopCounter) -> None:
            super().merge(other)
            held.append(sum(len(rows.scores) for rows in self._kept))

    top = Watched(20)
    walk(write(tmp_path, table(normal(4, ROWS)), 100), [top])
    assert max(held) <= 40


def test_no_parts_and_empty_parts(tmp_path: Path) -> None:
    for scores in (Folder.at(tmp_path / "absent"), write(tmp_path / "empty", table(normal(5, 0)), 2)):
        ranks, histogram, top = RankCounter(SIZE), HistogramCounter("outlier_score", EDGES), TopCounter(10)
        assert walk(scores, [ranks, histogram, top]).rows == 0
        assert histogram.histogram.total == ranks.counts.sum() == 0
        assert top.places(10) == []


def test_a_part_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    scores = write(tmp_path, table(normal(4, 100)), 4)
    (tmp_path / part_name(2)).write_bytes(b"cut")
    with pytest.raises((pa.ArrowInvalid, OSError)):
        walk(scores, [TopCounter(1)])
