"""A bundle written for another runtime; tests/export/bundle does the same with bundles of every family."""

from pathlib import Path

import pytest

from export import page
from export.bundle.format import Bundle
from export.storage import Folder
from export.targets import names, triton, write_target
from jobs.export.job import export
from jobs.export.options import ExportOptions
from targets import check_targets, check_triton
from vae_core.errors import UserError


@pytest.fixture(scope="module")
def opened(bundle: Path) -> Bundle:
    return Bundle.open(str(bundle))


def test_a_bundle_of_pixels_is_written_for_every_runtime(opened: Bundle, tmp_path: Path) -> None:
    check_targets(opened, tmp_path)


def test_what_was_calibrated_on_a_gpu_runs_on_one(
    opened: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(opened.manifest["calibration"], "provider", "cuda")
    check_triton(opened, tmp_path / "triton")
    text = (tmp_path / "triton" / "scorer" / "config.pbtxt").read_text()
    assert "use_tf32" in text
    assert "intra_op_thread_count" not in text


def test_graphs_that_decode_often_take_smaller_batches(opened: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    assert triton._most_images(opened, "scorer.onnx") == 128
    monkeypatch.setitem(opened.manifest["likelihood"], "samples", 64)
    assert triton._most_images(opened, "likelihood.onnx") == 32
    monkeypatch.setitem(opened.manifest["likelihood"], "samples", 100_000)
    assert triton._most_images(opened, "likelihood.onnx") == 1


@pytest.mark.parametrize("target", names())
def test_a_folder_with_files_is_refused(opened: Bundle, tmp_path: Path, target: str) -> None:
    (tmp_path / "mine.txt").touch()
    with pytest.raises(UserError, match=r"holds files already \(mine.txt\); give an empty or new directory"):
        write_target(target, opened, Folder.at(tmp_path))


def test_the_command_converts_a_bundle(bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    export(ExportOptions(bundle=str(bundle), for_="web", output=str(tmp_path / "web")))
    assert f"web: {8 + len(page.FILES) + 1} files for web, " in capsys.readouterr().out
    assert (tmp_path / "web" / "manifest.json").exists()


def test_the_command_refuses_an_occupied_output_before_it_works(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").touch()
    with pytest.raises(UserError, match="holds files already"):
        export(ExportOptions(run="nowhere", bundle=str(tmp_path / "b"), for_="web", output=str(tmp_path)))


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({}, "give --run to export a training run, or --for and --output to convert the bundle"),
        ({"for_": "torch", "output": "O"}, "--for must be one of triton, web, got torch"),
        ({"run": "R", "for_": "web"}, "--for needs --output"),
        ({"run": "R", "output": "O"}, "--output needs --for"),
        ({"for_": "web", "output": "O", "int8": True}, "--int8 needs --run: B is converted as it is; leave --int8 out"),
        ({"for_": "web", "output": "O", "checkpoint": "last"}, "--checkpoint needs --run"),
    ],
)
def test_impossible_combinations_are_refused(options: dict[str, object], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        ExportOptions(bundle="B", **options)  # type: ignore[arg-type]
