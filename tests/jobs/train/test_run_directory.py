"""A run directory from an untrusted source, or from another version."""

import json
import os
import shutil
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from damage import changed_bytes, damaged
from export.storage import Folder
from jobs.export.job import export
from jobs.export.options import ExportOptions
from jobs.inspect.job import facts_about
from jobs.train.run_directory import FORMAT, Run
from training_runs import SHAPE, config, found, start, write_images
from vae_core.checkpoint import FILES
from vae_core.errors import UserError

HEAD: dict[str, object] = {"model": {}, "train": {}, "data": {}}
CHECKPOINT = dict.fromkeys(FILES, b"{}")


@pytest.fixture
def run(tmp_path: Path) -> Run:
    made = Run(Folder.at(tmp_path / "runs/run"))
    made.write_head(HEAD)
    made.write_checkpoint("step-000000003", CHECKPOINT, best=True)
    return made


def test_the_last_and_the_best_checkpoint_are_kept(run: Run) -> None:
    for step in (6, 9):
        run.write_checkpoint(f"step-{step:09d}", {**CHECKPOINT, FILES[0]: str(step).encode()}, best=False)
    run.folder.write_text("checkpoints/notes/mine.txt", "kept")
    assert run.folder.child("checkpoints").subfolders() == ["notes", "step-000000003", "step-000000009"]
    last, best = run.read_checkpoint("last"), run.read_checkpoint("best")
    assert last is not None
    assert last[FILES[0]] == b"9"
    assert best == CHECKPOINT


@pytest.mark.parametrize(
    "name",
    ["../../planted", "/planted", "..", "", ".", "step-1/../../../planted", "step-", "step-१", "notes", 3, None, []],
)
def test_a_pointer_must_name_a_checkpoint_of_this_run(run: Run, tmp_path: Path, name: object) -> None:
    for place in (tmp_path / "planted", tmp_path / "runs/planted", tmp_path / "runs/run/checkpoints"):
        for file in FILES:
            Folder.at(place).write(file, b"{}")
    run.folder.write_text("checkpoints/best.json", json.dumps({"checkpoint": name}))
    with pytest.raises(UserError, match=r"best\.json must name a checkpoint such as step-000001000, got ") as refused:
        export(ExportOptions(run=run.folder.url, bundle=str(tmp_path / "bundle")))
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "bundle").exists()


@pytest.mark.parametrize("text", ["", "[]", '{"checkpoint": "step-1", "checkpoint": "step-2"}'])
def test_a_damaged_pointer_is_an_error(run: Run, text: str) -> None:
    run.folder.write_text("checkpoints/last.json", text)
    with pytest.raises(UserError, match=r"last\.json must "):
        run.read_checkpoint("last")


def test_a_checkpoint_with_missing_files_is_an_error(run: Run) -> None:
    run.folder.delete(f"checkpoints/step-000000003/{FILES[1]}")
    with pytest.raises(UserError, match=r"step-000000003 lacks files of a checkpoint"):
        run.read_checkpoint("best")


@pytest.mark.parametrize("version", [0, FORMAT - 1, FORMAT + 1, "1", None])
def test_a_run_of_another_format_is_an_error(run: Run, tmp_path: Path, version: object) -> None:
    run.folder.write_text("run.json", json.dumps({**HEAD, "format": version}))
    with pytest.raises(UserError, match=rf"must have run format {FORMAT}, got {version!r}"):
        export(ExportOptions(run=run.folder.url, bundle=str(tmp_path / "bundle")))


@pytest.mark.parametrize("text", ["", "[]", json.dumps({"format": FORMAT, **HEAD, "model": 3})])
def test_a_damaged_head_is_an_error(run: Run, text: str) -> None:
    run.folder.write_text("run.json", text)
    with pytest.raises(UserError, match=r"run\.json.* must "):
        Run.open(run.folder.url)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run after its setup, with an epoch's metrics."""
    folder = tmp_path_factory.mktemp("damage")
    start(folder / "run", found(write_images(folder / "images.parquet", 120)), config())
    (folder / "run" / "metrics.jsonl").write_text(json.dumps({"epoch": 1, "validation_elbo": -90.0}) + "\n")
    return folder / "run"


def _use(folder: Path) -> None:
    run = Run.open(str(folder))
    facts_about(str(folder))
    run.read_labels()
    run.read_excluded()
    for split in ("validation", "calibration", "training"):
        run.read_split(split, SHAPE)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_damage_ends_in_a_sentence(trained: Path, data: st.DataObject) -> None:
    names = ["run.json", "metrics.jsonl", "splits/validation.parquet", "splits/training.parquet"]
    path = trained / data.draw(st.sampled_from(names))
    before = path.read_bytes()
    if path.suffix.startswith(".json") and data.draw(st.booleans()):
        after = json.dumps(data.draw(damaged(json.loads(before)))).encode()
    else:
        after = data.draw(changed_bytes(before))
    said = ""
    try:
        path.write_bytes(after)
        _use(trained)
    except UserError as error:
        said = str(error)
    finally:
        path.write_bytes(before)
    assert "\n" not in said


def test_a_pipe_in_place_of_a_file_is_refused_without_reading_it(trained: Path, tmp_path: Path) -> None:
    shutil.copytree(trained, tmp_path / "run")
    (tmp_path / "run" / "metrics.jsonl").unlink()
    os.mkfifo(tmp_path / "run" / "metrics.jsonl")
    (tmp_path / "run" / "run.json").unlink()
    os.mkfifo(tmp_path / "run" / "run.json")
    with pytest.raises(UserError, match=r"is not a run: it has no run\.json"):
        Run.open(str(tmp_path / "run"))


def test_an_extractor_that_no_bundle_may_have_is_refused(run: Run) -> None:
    run.write_extractor(b"no graph")
    with pytest.raises(UserError, match=r"extractor\.onnx must be an ONNX graph of standard operators"):
        run.read_extractor()
