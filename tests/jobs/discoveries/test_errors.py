"""Reasons of errors are counted over the parts of a job."""

from pathlib import Path

import pyarrow as pa
import pytest

from export.storage import Folder
from jobs.discoveries import errors
from jobs.discoveries.errors import Reason, ReasonCounter, describe_left_out
from jobs.discoveries.walk import walk


def found(folder: Path, *parts: list[tuple[str, int | None, str]]) -> list[Reason]:
    output = Folder.at(folder)
    for number, rows in enumerate(parts):
        schema = pa.schema({"file": pa.string(), "row": pa.int64(), "reason": pa.string()})
        columns = [pa.array([row[i] for row in rows], kind) for i, kind in enumerate(schema.types)]
        output.write_table(f"part-{number:06d}.parquet", pa.Table.from_arrays(columns, schema=schema))
    counter = ReasonCounter()
    walk(output, [counter])
    return counter.reasons


def test_reasons_are_counted_with_an_example(tmp_path: Path) -> None:
    parts = [("b", 4, "z"), ("a", 1, "x"), ("a", 2, "y"), ("b", 3, "y")], [("c", None, "cut"), ("d", 1, "y")]
    assert found(tmp_path / "errors", *parts) == [
        Reason("y", 3, "a", 2),
        Reason("z", 1, "b", 4),  # equally frequent reasons keep the order of the rows
        Reason("x", 1, "a", 1),
        Reason("cut", 1, "c", None),
    ]
    assert found(tmp_path / "absent") == []


def test_excess_reasons_are_counted_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(errors, "DISTINCT", 3)
    first = [("a", i, f"reason {i}") for i in range(2)]
    second = [("b", i, f"reason {i}") for i in range(1, 9)]
    reasons = found(tmp_path, first, second)
    assert sum(each.rows for each in reasons) == 10
    assert {each.reason: each.rows for each in reasons} == {
        "reason 0": 1, "reason 1": 2, "reason 2": 1, "other reasons": 6
    }  # fmt: skip


def test_what_was_left_out_is_a_sentence() -> None:
    assert describe_left_out({}, 44) == ""
    assert describe_left_out({"null": 4, "grey": 36}, 44) == "left out: 40 of 44 (36: grey; 4: null)"
    assert describe_left_out(dict.fromkeys("abcd", 1000), 8000) == (
        "left out: 4,000 of 8,000 (1,000: a; 1,000: b; 1,000: c; …)"
    )
