"""Images of --missed: every number beside them is what the job would say at other options."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from export.bundle.format import Bundle
from image_files import huggingface, write_parquet
from jobs.calibrate.job import calibrate
from jobs.calibrate.options import CalibrateOptions
from jobs.score import plan
from jobs.score import task as task_module
from jobs.score.find_missed import most_unusual
from jobs.score.job import score
from jobs.score.options import ScoreOptions
from scored import outliers_and_blobs, read_scores
from tiled import calibrated, whole_images, write_files
from vae_core.errors import UserError

COUNT = 150
LISTED = (0, 3, 50, 77, 149)  # rows; every fifth image is noise


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Images with a kind, one of them unreadable, and a list beside them."""
    rows = huggingface(outliers_and_blobs(COUNT)).to_pylist()
    rows[77] = {"bytes": b"this is a text file", "path": None}
    folder = tmp_path_factory.mktemp("in")
    kinds = [str(i % 2) for i in range(COUNT)]
    images = write_parquet(folder / "images.parquet", rows, row_group_size=40, kind=kinds)
    (folder / "list.csv").write_text("\n".join(["file,row", *(f"{images},{row}" for row in LISTED)]))
    return images


@pytest.fixture(scope="module")
def classed(tmp_path_factory: pytest.TempPathFactory, bundle: Path) -> Path:
    from bundles import SHAPE, pictures

    folder = tmp_path_factory.mktemp("classed")
    clean = write_parquet(
        folder / "clean.parquet", huggingface(pictures(200, SHAPE, 8)), kind=[str(i % 2) for i in range(200)]
    )
    calibrate(CalibrateOptions(bundle=str(bundle), images=(clean,), output=str(folder / "bundle"), per_class="kind"))
    return folder / "bundle"


def run(bundle: Path, source: str, output: Path, **options: Any) -> dict[str, Any]:
    chosen: dict[str, Any] = {"missed": str(Path(source).parent / "list.csv"), "unit_rows": 30, "explain": 0, **options}
    return score(ScoreOptions(bundle=str(bundle), images=(source,), output=str(output), engine="local", **chosen))


@pytest.mark.parametrize(
    "options", [{}, {"storey": True}, {"per_class": "kind"}, {"guarantee": "conditional", "confidence": 0.5}]
)
def test_every_number_is_what_the_job_says_at_other_options(
    tmp_path: Path, bundle: Path, classed: Path, source: str, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = classed if "per_class" in options else bundle
    summary = run(bundle, source, tmp_path / "out", fpr=0.05, **options)
    missed = summary["missed"]
    assert missed["listed"] == len(LISTED)
    assert missed["not_scored"] == [{"file": source, "row": 77}]
    assert {each["row"] for each in missed["images"]} == set(LISTED) - {77}
    assert missed["outliers"] == sum(each["is_outlier"] for each in missed["images"])
    scores = read_scores(tmp_path / "out").to_pylist()
    monkeypatch.setattr(task_module, "Scorer", None)  # nothing is scored again
    for each in missed["images"]:
        (row,) = (found for found in scores if found["row"] == each["row"])
        assert each["outlier_score"] == row["outlier_score"]
        assert each["rank"] == 1 + sum(other["outlier_score"] > row["outlier_score"] for other in scores)
        assert each["is_outlier"] == row["is_outlier"]
        found = pq.read_table(tmp_path / "out/discoveries.parquet")["row"].to_pylist()
        assert each["is_discovery"] == (each["row"] in found)
    assert [each["rank"] for each in missed["images"]] == sorted(each["rank"] for each in missed["images"])
    for each in missed["images"][1:3]:
        again = run(bundle, source, tmp_path / "out", fpr=each["p_value"] * (1 + 1e-9), **options)
        assert again["outliers"] == each["flagged"]
        assert next(x for x in again["missed"]["images"] if x["row"] == each["row"])["is_outlier"]
        if each["fdr"] < 0.99:
            again = run(bundle, source, tmp_path / "out", fdr=each["fdr"] * (1 + 1e-9), fpr=0.05, **options)
            assert again["discoveries"] == each["discoveries"]
            assert next(x for x in again["missed"]["images"] if x["row"] == each["row"])["is_discovery"]


def test_the_most_unusual_statistic_and_place(tmp_path: Path, bundle: Path, source: str) -> None:
    missed = run(bundle, source, tmp_path / "out", fpr=0.05)["missed"]
    opened, scores = Bundle.open(str(bundle)), read_scores(tmp_path / "out")
    rows = scores["row"].to_pylist()

    def tail(name: str, values: Any) -> np.ndarray:
        calibration = opened.calibration[name].to_numpy()
        above = (calibration >= np.asarray(values)[:, None]).sum(1)
        below = (calibration <= np.asarray(values)[:, None]).sum(1)
        return np.minimum(1, 2 * (1 + np.minimum(above, below)) / (len(calibration) + 1))

    for each in missed["images"]:
        at = rows.index(each["row"])
        tails = {s.name: tail(s.name, scores[s.name].to_numpy()) for s in opened.statistics}
        assert each["statistic_p_value"] == pytest.approx(min(values[at] for values in tails.values()))
        chosen = tails[each["statistic"]]
        assert chosen[at] == pytest.approx(each["statistic_p_value"])
        assert each["statistic_rows"] == (chosen <= chosen[at]).sum()
        assert ("statistic" in each["found_by"]) == (each["statistic_p_value"] * len(tails) <= 0.05)
        assert each["statistic_value"] == scores[each["statistic"]][at].as_py()
    noise = next(each for each in missed["images"] if each["row"] == 0)
    assert set(noise["found_by"]) >= {"outlier_score", "surprise"}
    assert 0 < noise["surprise_p_value"] < 0.05
    blob = next(each for each in missed["images"] if each["row"] == 3)
    assert "outlier_score" not in blob["found_by"]


def test_images_scored_by_tiles_are_found_and_shown(tmp_path: Path) -> None:
    tiled = calibrated(tmp_path, write_files(tmp_path / "clean", whole_images(80, seed=1)))
    images = write_files(tmp_path / "in", whole_images(20, seed=2))
    (tmp_path / "list.txt").write_text("in/003.png\n007.png\n")
    summary = score(
        ScoreOptions(
            bundle=tiled.folder.url,
            images=(images,),
            output=str(tmp_path / "out"),
            engine="local",
            fpr=0.05,
            missed=str(tmp_path / "list.txt"),
        )
    )
    scores = {Path(row["file"]).name: row for row in read_scores(tmp_path / "out").to_pylist()}
    assert {Path(each["file"]).name for each in summary["missed"]["images"]} == {"003.png", "007.png"}
    for each in summary["missed"]["images"]:
        own = scores[Path(each["file"]).name]["outlier_score"]
        assert each["rank"] == 1 + sum(row["outlier_score"] > own for row in scores.values())
        assert 0 < each["surprise_p_value"] <= 1
    assert "Images known to be outliers" in (tmp_path / "out/report.html").read_text()


def test_of_equal_tails_the_farther_statistic_is_chosen() -> None:
    calibration = {"near": np.arange(100, dtype=np.float32), "far": np.arange(100, dtype=np.float32)}
    assert most_unusual({"near": 120.0, "far": -900.0}, calibration).statistic == "far"
    found = most_unusual({"near": 98.0, "far": 50.0}, calibration)  # 98 and 99 are as high
    assert (found.statistic, found.p_value) == ("near", pytest.approx(2 * 3 / 101))
    assert (found.limits.low, found.limits.high) == (2, 97)
    assert most_unusual({"same": 1.0}, {"same": np.ones(30, np.float32)}).p_value == 1


def test_the_report_and_the_terminal_name_them(
    tmp_path: Path, bundle: Path, source: str, capsys: pytest.CaptureFixture[str]
) -> None:
    run(bundle, source, tmp_path / "out", fpr=0.05)
    assert "; of 5 images of --missed 2 outliers and " in capsys.readouterr().out
    page = (tmp_path / "out/report.html").read_text()
    assert "Images known to be outliers" in page
    assert f"Not scored, see the errors: row 77 · {source}." in page
    assert page.count(">missed<") == 2  # a badge for each blob


def test_another_list_decides_again_and_the_same_does_not(
    tmp_path: Path, bundle: Path, source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = tmp_path / "list.txt"
    listed.write_text(f"file,row\n{source},0\n")
    run(bundle, source, tmp_path / "out", missed=None)
    monkeypatch.setattr(task_module, "Scorer", None)
    assert json.loads((tmp_path / "out/summary.json").read_text())["missed"] is None
    assert run(bundle, source, tmp_path / "out", missed=str(listed))["missed"]["listed"] == 1
    before = (tmp_path / "out/summary.json").stat().st_mtime_ns
    listed.write_text(f"file,row\n{source},0\n{source},0\n")  # the same images
    run(bundle, source, tmp_path / "out", missed=str(listed))
    assert (tmp_path / "out/summary.json").stat().st_mtime_ns == before
    listed.write_text(f"file,row\n{source},0\n{source},5\n")
    assert run(bundle, source, tmp_path / "out", missed=str(listed))["missed"]["listed"] == 2
    listed.write_text(f"file,row\n{source},77\n")
    found = run(bundle, source, tmp_path / "out", missed=str(listed))["missed"]
    assert (found["listed"], found["images"]) == (1, [])


def test_lists_that_cannot_be_meant_are_refused_before_anything_is_scored(
    tmp_path: Path, bundle: Path, source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "list.txt").write_text("nobody.png\n")
    with pytest.raises(UserError, match=r"--missed: line 1 of .* must name one of the images, got nobody.png"):
        run(bundle, source, tmp_path / "out", missed=str(tmp_path / "list.txt"))
    monkeypatch.setattr(plan, "_MOST_MISSED", 4)
    with pytest.raises(UserError, match="--missed must list at most 4 images, got 5"):
        run(bundle, source, tmp_path / "out")
    assert not (tmp_path / "out").exists()
