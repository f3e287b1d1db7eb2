"""Counting and ordering rows that are ranked by class, over many parts."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from export.guarantees.classes import STATUSES, Classes
from export.guarantees.reference import reference
from export.storage import Folder
from jobs.bulk.commit import part_name
from jobs.discoveries.classes import ClassCounter
from jobs.discoveries.top import TopCounter, read_rows
from jobs.discoveries.walk import walk

ROWS = 3000
CLASSES = Classes(
    reference(np.linspace(0, 1, 99, dtype=np.float32)),
    {"1": reference(np.linspace(0, 1, 39, dtype=np.float32)), "2": reference(np.linspace(0, 1, 59, dtype=np.float32))},
    {"3": 4},
)


@pytest.fixture
def rows() -> pa.Table:
    random = np.random.default_rng(0)
    names = pa.array([[1, 2, 3, 4, None][i] for i in random.integers(0, 5, ROWS)], pa.int16())
    groups = CLASSES.assign(names.cast(pa.string())).groups
    sizes = np.array([each.size for each in CLASSES.references])[groups]
    ranks = 1 + random.integers(0, sizes + 1)
    columns = {"label": names, "row": np.arange(ROWS), "outlier_score": random.normal(size=ROWS).astype(np.float32)}
    return pa.table({**columns, "rank": ranks, "group": groups, "p_value_class": ranks / (sizes + 1.0)})


@pytest.fixture
def parts(tmp_path: Path, rows: pa.Table) -> Folder:
    folder = Folder.at(tmp_path)
    for number, start in enumerate(range(0, ROWS, 170)):
        folder.write_table(part_name(number), rows.slice(start, 170))
    return folder


def test_ranks_are_counted_by_class(parts: Folder, rows: pa.Table) -> None:
    counter = ClassCounter(CLASSES, "label")
    walk(parts, [counter])
    ranks, groups = rows["rank"].to_numpy(), rows["group"].to_numpy()
    for group, counts in enumerate(counter.counts):
        np.testing.assert_array_equal(counts, np.bincount(ranks[groups == group], minlength=len(counts)))
    labels = rows["label"].to_pylist()
    found = dict(zip(STATUSES, counter.statuses.tolist(), strict=True))
    expected = {"few": labels.count(3), "unknown": labels.count(4), "missing": labels.count(None)}
    assert found == {"own": ROWS - sum(expected.values()), **expected}
    assert counter.few == {"3": labels.count(3)}
    assert list(counter.unknown) == ["4"]


@pytest.mark.parametrize("most", [7, 400, 10_000])
def test_rows_are_ordered_by_p_value_then_by_score(parts: Folder, rows: pa.Table, most: int) -> None:
    top = TopCounter(most, p_value="p_value_class")
    walk(parts, [top])
    p, scores = rows["p_value_class"].to_numpy(), rows["outlier_score"].to_numpy()
    expected = np.lexsort((-scores, p))[:most]
    assert read_rows(parts, top.places(ROWS))["row"].to_pylist() == expected.tolist()
