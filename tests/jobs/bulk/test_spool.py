"""The output of a unit that is larger than it may be in memory."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from export.storage import Folder
from jobs.bulk import Part, spool
from jobs.bulk.commit import commit
from jobs.bulk.spool import Spool, SpooledTable

LIMIT = 10_000


@pytest.fixture(autouse=True)
def _limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool, "SPOOL_BYTES", LIMIT)


def uneven(rows: int) -> pa.Table:
    """Texts of 0 to 3,000 characters, and one of 25,000."""
    texts = ["x" * (row * 37 % 3000) for row in range(rows)]
    texts[rows // 2] = "y" * 25_000
    return pa.table({"row": range(rows), "text": texts})


def added(table: pa.Table, step: int) -> SpooledTable:
    spooled = SpooledTable()
    spooled.add(table.slice(0, 0))
    for start in range(0, len(table), step):
        spooled.add(table.slice(start, step))
    return spooled


@pytest.mark.parametrize("step", [1, 7, 100])
def test_tables_are_bounded_and_equal_however_rows_were_added(step: int) -> None:
    whole = uneven(100)
    tables = list(added(whole, step).tables())
    assert pa.concat_tables(tables).equals(whole)
    assert [len(table) for table in tables] == [len(table) for table in added(whole, 10).tables()]
    assert all(table.nbytes <= LIMIT or len(table) == 1 for table in tables)
    assert all(column.num_chunks == 1 for table in tables for column in table.columns)


@pytest.mark.parametrize("rows", [0, 3])
def test_a_small_table_is_one(rows: int) -> None:
    (table,) = added(uneven(100).slice(0, rows), 2).tables()
    assert table.equals(uneven(100).slice(0, rows))


def test_rows_in_memory_are_bounded() -> None:
    spooled = added(uneven(100), 1)
    assert sum(table.nbytes for table in spooled._held) <= LIMIT


def test_later_rows_have_the_columns_of_the_first() -> None:
    spooled = added(uneven(100), 10)
    spooled.add(pa.table({"row": [100], "text": pa.nulls(1)}))
    table = pa.concat_tables(spooled.tables())
    assert table.schema == uneven(1).schema
    assert table["text"][100].as_py() is None


def test_a_large_part_has_row_groups_and_is_whole(tmp_path: Path) -> None:
    whole = uneven(100).replace_schema_metadata({"a": "b"})
    errors = pa.table({"row": [1000], "reason": ["none"]})
    first = Spool([Part(whole.slice(0, 0), errors.slice(0, 0)), Part(whole.slice(0, 50), errors)])
    first.extend(Spool([Part(whole.slice(50), errors.slice(0, 0))]))
    commit(first, 0, Folder.at(tmp_path), "results", {"row_group_size": 1000})
    with pq.ParquetFile(tmp_path / "results/part-000000.parquet") as file:
        assert file.num_row_groups > 1
        assert file.read().equals(whole)
        assert file.metadata.metadata[b"vae.counts"] == b"100 1"
        assert file.schema_arrow.metadata[b"a"] == b"b"
    groups = list(Folder.at(tmp_path / "results").row_groups("part-000000.parquet", ["row"]))
    assert pa.concat_tables(groups)["row"].to_pylist() == list(range(100))
    assert pq.read_table(tmp_path / "errors/part-000000.parquet").equals(errors)
