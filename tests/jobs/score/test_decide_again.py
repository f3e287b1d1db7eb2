"""A finished job with another `--fpr` or `--fdr` is what it would be had it been run with it, without scoring again."""

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from export.storage import Folder
from image_files import packed, write_parquet
from jobs.calibrate.job import calibrate
from jobs.calibrate.options import CalibrateOptions
from jobs.score import decide_again
from jobs.score import task as task_module
from jobs.score.job import score
from jobs.score.options import ScoreOptions
from scored import outliers_and_blobs

COUNT = 230
OF_A_RUN = ("last_run", "rows_per_second", "versions", "bundle")


@pytest.fixture(scope="module")
def classed(tmp_path_factory: pytest.TempPathFactory, bundle: Path) -> Path:
    """The bundle calibrated by class: one has enough images for --fpr 0.02, the other for 0.05 only."""
    from bundles import SHAPE, pictures

    folder = tmp_path_factory.mktemp("classed")
    kinds = ["many" if i % 5 else "fewer" for i in range(200)]
    column, metadata = packed(pictures(200, SHAPE, 8)), {"vae.shape": "[1, 20, 16]"}
    source = write_parquet(folder / "clean.parquet", column, metadata, kind=kinds)
    options = CalibrateOptions(bundle=str(bundle), images=(source,), output=str(folder / "bundle"), per_class="kind")
    calibrate(options)
    return folder / "bundle"


@pytest.fixture
def source(tmp_path: Path) -> str:
    kinds = ["many" if i % 3 else "fewer" for i in range(COUNT)]
    column, metadata = packed(outliers_and_blobs(COUNT)), {"vae.shape": "[1, 20, 16]"}
    return write_parquet(tmp_path / "in/images.parquet", column, metadata, row_group_size=50, kind=kinds)


def run_score(bundle: Path, source: str, output: Path, **options: Any) -> dict[str, Any]:
    chosen: dict[str, Any] = {"engine": "local", "unit_rows": 50, "explain": 5, **options}
    return score(ScoreOptions(bundle=str(bundle), images=(source,), output=str(output), **chosen))


def contents(output: Path) -> dict[str, Any]:
    """All tables of a job."""
    return {str(path.relative_to(output)): pq.read_table(path) for path in sorted(output.rglob("*.parquet"))}


def assert_same_job(found: Path, expected: Path, *summaries: dict[str, Any]) -> None:
    assert contents(found) == contents(expected)
    first, second = ({name: value for name, value in each.items() if name not in OF_A_RUN} for each in summaries)
    assert first == second


@pytest.mark.parametrize(
    "options",
    [{}, {"per_class": "kind"}, {"guarantee": "conditional"}, {"per_class": "kind", "guarantee": "conditional"}],
)
def test_a_job_decided_again_is_that_of_the_other_options(
    tmp_path: Path, classed: Path, source: str, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    other = {"fpr": 0.1, "fdr": 0.3, **options}
    expected = run_score(classed, source, tmp_path / "expected", **other)
    first = run_score(classed, source, tmp_path / "found", fpr=0.05, **options)
    assert first["outliers"] < expected["outliers"]
    monkeypatch.setattr(task_module, "Scorer", None)  # nothing is scored
    found = run_score(classed, source, tmp_path / "found", **other)
    assert found["last_run"] == first["last_run"]
    assert_same_job(tmp_path / "found", tmp_path / "expected", found, expected)


def test_the_same_options_change_nothing(tmp_path: Path, bundle: Path, source: str) -> None:
    run_score(bundle, source, tmp_path / "out", fpr=0.05)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*") if path.is_file()}
    run_score(bundle, source, tmp_path / "out", fpr=0.05)
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*") if path.is_file()}


def test_another_rate_of_discoveries_leaves_the_parts_alone(tmp_path: Path, bundle: Path, source: str) -> None:
    run_score(bundle, source, tmp_path / "out", fpr=0.05)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out/scores").iterdir()}
    summary = run_score(bundle, source, tmp_path / "out", fpr=0.05, fdr=0.5, storey=True)
    assert summary["decision"] == {"fpr": 0.05, "fdr": 0.5, "storey": True, "missed": None}
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "out/scores").iterdir()}


def test_a_decision_that_was_interrupted_goes_on(
    tmp_path: Path, bundle: Path, source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = run_score(bundle, source, tmp_path / "expected", fpr=0.1)
    run_score(bundle, source, tmp_path / "found", fpr=0.02)
    written, write = [], Folder.write_table

    def fail_after_two(folder: Folder, name: str, *rest: Any, **options: Any) -> None:
        if folder.path.endswith("scores"):
            if len(written) == 2:
                raise KeyboardInterrupt
            written.append(name)
        write(folder, name, *rest, **options)

    monkeypatch.setattr(decide_again, "over_parts", lambda folder, names, read: map(read, names))
    monkeypatch.setattr(Folder, "write_table", fail_after_two)
    with pytest.raises(KeyboardInterrupt):
        run_score(bundle, source, tmp_path / "found", fpr=0.1)
    monkeypatch.undo()
    assert not (tmp_path / "found/summary.json").exists()
    found = run_score(bundle, source, tmp_path / "found", fpr=0.1)
    assert_same_job(tmp_path / "found", tmp_path / "expected", found, expected)


def test_an_unfinished_job_ends_at_the_level_it_was_resumed_with(tmp_path: Path, bundle: Path, source: str) -> None:
    expected = run_score(bundle, source, tmp_path / "expected", fpr=0.1)
    run_score(bundle, source, tmp_path / "found", fpr=0.02)
    for name in ("summary.json", "scores/part-000001.parquet", "scores/part-000003.parquet"):
        (tmp_path / "found" / name).unlink()
    found = run_score(bundle, source, tmp_path / "found", fpr=0.1)
    assert_same_job(tmp_path / "found", tmp_path / "expected", found, expected)
