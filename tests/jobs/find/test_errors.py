"""Errors of `vae find` name the images of the input, not their packed copies, which are deleted at the end."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from export.storage import Folder
from jobs.discoveries.errors import ReasonCounter
from jobs.find.finish import _write_errors


def write(path: Path, table: pa.Table) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path)


def test_an_image_that_fails_in_every_fold_is_one_error_of_the_input(tmp_path: Path) -> None:
    packed = tmp_path / "packed/images/part-000001.parquet"
    write(packed, pa.table({"source_file": ["a.png", "b.png"], "source_row": [0, 0], "id": ["x", "y"]}))
    unreadable = {"file": ["c.png"], "row": [0], "id": ["z"], "reason": ["not an image"]}
    write(tmp_path / "packed/errors/part-000000.parquet", pa.table(unreadable))
    lost = {"file": [str(packed)], "row": [1], "source_file": ["?"], "source_row": [9], "id": ["?"], "reason": ["lost"]}
    scored = [tmp_path / f"folds/{fold}/scores" for fold in (0, 1)]
    for folder in scored:
        write(folder / "errors/part-000001.parquet", pa.table(lost))
    job: Any = SimpleNamespace(output=Folder.at(tmp_path), scored=[Folder.at(each) for each in scored], kept=["id"])
    reasons = ReasonCounter()
    assert _write_errors(job, reasons) == 2
    written = [row for part in sorted((tmp_path / "errors").iterdir()) for row in pq.read_table(part).to_pylist()]
    assert written == [
        {"file": "c.png", "row": 0, "id": "z", "reason": "not an image"},
        {"file": "b.png", "row": 0, "id": "y", "reason": "lost"},
    ]
    assert reasons.counts == {"not an image": 1, "lost": 1}
