"""outliers.csv: the flagged rows in order, as text that no spreadsheet runs."""

import csv
import datetime
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bundles import SHAPE, pictures
from export.storage import Folder
from image_files import LAYOUTS, encode, packed, write_parquet
from jobs.calibrate.job import calibrate
from jobs.calibrate.options import CalibrateOptions
from jobs.score import outliers_csv
from jobs.score.job import score
from jobs.score.options import ScoreOptions
from jobs.score.outliers_csv import as_text, write_outliers_csv
from scored import outliers_and_blobs, read_scores
from vae_core.errors import UserError

COUNT = 150


def run(bundle: Path, source: str, output: Path, **options: Any) -> dict[str, Any]:
    chosen: dict[str, Any] = {"engine": "local", "unit_rows": 40, "explain": 0, "fpr": 0.05, **options}
    return score(ScoreOptions(bundle=str(bundle), images=(source,), output=str(output), **chosen))


def read(output: Path) -> list[dict[str, str]]:
    with (output / "outliers.csv").open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


@pytest.fixture
def source(tmp_path: Path) -> str:
    columns = {"key": [f"k{i}" for i in range(COUNT)], "rank": [f"=cmd|{i}" for i in range(COUNT)]}
    layout = LAYOUTS["packed"](outliers_and_blobs(COUNT))
    return write_parquet(tmp_path / "in/images.parquet", *layout, row_group_size=40, **columns)


def test_it_lists_the_flagged_rows_in_order(tmp_path: Path, bundle: Path, source: str) -> None:
    summary = run(bundle, source, tmp_path / "out", key="key", keep=("rank",))
    found, scores = read(tmp_path / "out"), read_scores(tmp_path / "out")
    flags = scores["is_outlier"].to_numpy(zero_copy_only=False)
    order = np.argsort(-scores["outlier_score"].to_numpy(), kind="stable")[: flags.sum()]
    assert flags[order].all()
    assert summary["flagged"] == summary["listed"] == summary["in_gallery"] == len(order) == len(found) > 20
    assert list(found[0]) == [
        *(
            "rank",
            "file",
            "row",
            "key",
            "input_rank",
            "outlier_score",
            "p_value",
            "is_outlier",
            "is_discovery",
            "reason",
        )
    ]
    assert [int(each["rank"]) for each in found] == list(range(1, len(found) + 1))
    assert [(each["file"], int(each["row"])) for each in found] == [(source, index) for index in order.tolist()]
    assert [each["key"] for each in found] == [f"k{index}" for index in order.tolist()]
    assert [each["input_rank"] for each in found] == [f"'=cmd|{index}" for index in order.tolist()]
    for name in ("outlier_score", "p_value"):
        exact = scores[name].to_numpy()[order]
        assert [np.float32(each[name]) for each in found] == exact.tolist()
        assert len(found[0][name]) <= 12  # as few digits as a float32 needs
    discovered = pq.read_table(tmp_path / "out/discoveries.parquet")["row"].to_pylist()
    assert [int(each["row"]) for each in found if each["is_discovery"] == "true"] == discovered
    assert all(each["reason"].endswith(".") for each in found)


@pytest.mark.parametrize("options", [{"per_class": "kind"}, {"guarantee": "conditional"}])
def test_other_p_values_decide(tmp_path: Path, bundle: Path, options: dict[str, Any]) -> None:
    kinds = ["many" if i % 4 else "few" for i in range(200)]
    clean = write_parquet(
        tmp_path / "clean.parquet", packed(pictures(200, SHAPE, 8)), {"vae.shape": "[1, 20, 16]"}, kind=kinds
    )
    calibrate(CalibrateOptions(bundle=str(bundle), images=(clean,), output=str(tmp_path / "b"), per_class="kind"))
    new = write_parquet(
        tmp_path / "new.parquet", packed(outliers_and_blobs(COUNT)), {"vae.shape": "[1, 20, 16]"}, kind=kinds[:COUNT]
    )
    run(tmp_path / "b", new, tmp_path / "out", gallery=0, fpr=0.1, fdr=0.3, **options)
    name = "p_value_class" if "per_class" in options else "p_value_conditional"
    found, scores = read(tmp_path / "out"), read_scores(tmp_path / "out")
    flags = scores["is_outlier"].to_numpy(zero_copy_only=False)
    assert {int(each["row"]) for each in found} >= set(np.flatnonzero(flags).tolist())
    assert [each["is_outlier"] == "true" for each in found] == [bool(flags[int(each["row"])]) for each in found]
    p_values = [float(each[name]) for each in found]
    assert p_values == sorted(p_values)
    discovered = pq.read_table(tmp_path / "out/discoveries.parquet")["row"].to_pylist()
    assert [int(each["row"]) for each in found if each["is_discovery"] == "true"] == discovered


def test_image_files_have_no_row(tmp_path: Path, bundle: Path) -> None:
    for index, image in enumerate(outliers_and_blobs(20)):
        path = tmp_path / f"in/{index:02d}.png"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(encode(image))
    run(bundle, str(tmp_path / "in"), tmp_path / "out")
    found = read(tmp_path / "out")
    assert len(found) >= 4
    assert {each["row"] for each in found} == {""}
    assert f"{tmp_path}/in/00.png" in [each["file"] for each in found]


def test_a_decision_rewrites_it(tmp_path: Path, bundle: Path, source: str) -> None:
    run(bundle, source, tmp_path / "expected", fpr=0.3)
    run(bundle, source, tmp_path / "found", fpr=0.02)
    before = (tmp_path / "found/outliers.csv").read_bytes()
    run(bundle, source, tmp_path / "found", fpr=0.3)
    after = (tmp_path / "found/outliers.csv").read_bytes()
    assert before != after == (tmp_path / "expected/outliers.csv").read_bytes()


def test_the_list_is_cut_and_says_so(
    tmp_path: Path, bundle: Path, source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from jobs.score import finish

    monkeypatch.setattr(finish, "LISTED", 10)
    summary = run(bundle, source, tmp_path / "out", gallery=4)
    assert summary["flagged"] > summary["listed"] == len(read(tmp_path / "out")) == 10
    assert [bool(each["reason"]) for each in read(tmp_path / "out")] == [True] * 4 + [False] * 6
    page = (tmp_path / "out/report.html").read_text()
    assert "outliers.csv lists them, the 10 most outlying." in page
    assert "The gallery has the 4 most outlying." in page


def test_nothing_flagged_is_an_empty_list(tmp_path: Path, bundle: Path) -> None:
    clean = write_parquet(tmp_path / "in.parquet", *LAYOUTS["packed"](pictures(30, SHAPE, 1)))
    run(bundle, clean, tmp_path / "out", fpr=0.5)
    (tmp_path / "out/gallery").mkdir()  # of an earlier decision
    summary = run(bundle, clean, tmp_path / "out", fpr=0.004)
    assert summary["flagged"] == 0
    assert (tmp_path / "out/outliers.csv").read_text().startswith("rank,file,row,outlier_score,p_value,is_outlier,")
    assert read(tmp_path / "out") == []
    assert not (tmp_path / "out/gallery").exists()


def test_no_gallery_is_made_unless_asked_for(tmp_path: Path, bundle: Path, source: str) -> None:
    summary = run(bundle, source, tmp_path / "out", gallery=0)
    assert summary["in_gallery"] == 0 < summary["listed"]
    assert 'class="gallery"' not in (tmp_path / "out/report.html").read_text()
    with pytest.raises(UserError, match=r"--gallery must be at most 10,000, got 10,001"):
        run(bundle, source, tmp_path / "other", gallery=10_001)


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "\N{FULLWIDTH EQUALS SIGN}1"])
def test_formulas_become_text(text: str) -> None:
    assert as_text(text) == f"'{text}"


@pytest.mark.parametrize("text", ["", "/a=b", "s3://bucket/a", "1", " = ", "Größe"])
def test_other_text_stays(text: str) -> None:
    assert as_text(text) == text


def test_every_type_of_column_is_written(tmp_path: Path) -> None:
    rows = pa.table(
        {
            "file": ['/a "b", c\n.png', None],
            "row": pa.array([None, -3], pa.int64()),
            "text": ["=1", "naïve"],
            "small": pa.array([0.1, None], pa.float32()),
            "large": pa.array([-0.1, 1e-300], pa.float64()),
            "bytes": [b"\x01\xff", None],
            "list": [["=x", "y"], []],
            "struct": [{"a": 1}, None],
            "date": [datetime.date(2026, 1, 2), None],
            "flag": [True, None],
        }
    )
    write_outliers_csv(Folder.at(tmp_path), rows, 1, ["-1 σ"])
    first, second = read(tmp_path)
    assert first == {
        "rank": "1",
        "file": '/a "b", c\n.png',
        "row": "",
        "text": "'=1",
        "small": "0.1",
        "large": "-0.1",
        "bytes": "01ff",
        "list": json.dumps(["=x", "y"]),
        "struct": '{"a": 1}',
        "date": "2026-01-02",
        "flag": "true",
        "is_discovery": "true",
        "reason": "'-1 σ",
    }
    assert second["row"] == "-3"  # a number, not text
    assert (second["small"], second["large"]) == ("", "1e-300")
    assert (second["is_discovery"], second["reason"]) == ("false", "")


def test_it_is_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = pa.table({"file": [f"/{i}" for i in range(20)]})
    write_outliers_csv(Folder.at(tmp_path), rows, 0, [])
    before = (tmp_path / "outliers.csv").read_bytes()
    monkeypatch.setattr(outliers_csv, "_ROWS", 5)
    write_outliers_csv(Folder.at(tmp_path), rows, 0, [])
    assert (tmp_path / "outliers.csv").read_bytes() == before  # pieces leave no seam

    def fail(text: str) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr(outliers_csv, "as_text", fail)
    with pytest.raises(KeyboardInterrupt):
        write_outliers_csv(Folder.at(tmp_path), rows, 0, [])
    assert [path.name for path in tmp_path.iterdir()] == ["outliers.csv"]
    assert (tmp_path / "outliers.csv").read_bytes() == before
