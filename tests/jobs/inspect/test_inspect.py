"""`vae inspect` on each kind of folder that our commands write."""

import json
from pathlib import Path

import pytest

from image_files import packed, write_parquet
from jobs.inspect.job import facts_about
from jobs.program import cli
from jobs.sample.job import sample
from jobs.sample.options import SampleOptions
from jobs.score.job import score
from jobs.score.options import ScoreOptions
from jobs.train.loop import train
from scored import outliers_and_blobs
from training_runs import CPU, config, found, ignore, start, write_images


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    cli.main(["inspect", *arguments])
    return capsys.readouterr().out


def test_a_bundle(labelled_bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = printed(capsys, str(labelled_bundle))
    assert "bundle, verified" in text
    assert "1×20×16, uint8" in text
    assert "left, middle, right" in text
    facts = json.loads(printed(capsys, str(labelled_bundle), "--json"))
    assert facts["calibration images"] == 399
    assert facts["validation elbo"] == -1710.0
    assert "scorer.onnx" in facts["graphs"]


def test_a_damaged_bundle_is_refused(bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for path in bundle.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "weights.bin").write_bytes(b"")
    with pytest.raises(SystemExit) as ended:
        cli.main(["inspect", str(tmp_path)])
    assert ended.value.code == 2
    assert "weights.bin is not what was exported" in capsys.readouterr().err


def test_a_run_before_and_after_its_end(tmp_path: Path) -> None:
    class _Stopped(Exception):
        pass

    def stop(metrics: dict[str, object]) -> None:
        raise _Stopped

    work = start(tmp_path / "run", found(write_images(tmp_path / "a.parquet")), config(epochs=2))
    with pytest.raises(_Stopped):
        train(work, 0, 1, CPU, stop)
    facts = facts_about(str(tmp_path / "run"))
    assert facts["what"].startswith("run, unfinished")
    train(work, 0, 1, CPU, ignore)
    facts = facts_about(str(tmp_path / "run"))
    assert (facts["what"], facts["epochs"], facts["training images"]) == ("run, finished", "2 of 2", 300)


def test_outputs_of_jobs(tmp_path: Path, bundle: Path) -> None:
    column, metadata = packed(outliers_and_blobs(60)), {"vae.shape": "[1, 20, 16]"}
    source = write_parquet(tmp_path / "in.parquet", column, metadata)
    common = {"bundle": str(bundle), "engine": "local"}
    score(ScoreOptions(images=(source,), output=str(tmp_path / "scored"), unit_rows=20, explain=0, **common))  # type: ignore[arg-type]
    facts = facts_about(str(tmp_path / "scored"))
    assert facts["what"] == "output of vae score"
    assert (facts["finished"], facts["units"], facts["scored"]) == (True, "3 of 3", 60)
    for name in ("summary.json", "scores/part-000001.parquet"):
        (tmp_path / "scored" / name).unlink()
    facts = facts_about(str(tmp_path / "scored"))
    assert (facts["finished"], facts["units"]) == (False, "2 of 3")
    for form in ("parquet", "png"):
        output = tmp_path / form
        sample(SampleOptions(count=7, output=str(output), format=form, **common))  # type: ignore[arg-type]
        facts = facts_about(str(output))
        assert (facts["finished"], facts["units"], facts["samples"]) == (True, "1 of 1", 7)


def test_other_folders_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    for path in (tmp_path, tmp_path / "absent"):
        with pytest.raises(SystemExit) as ended:
            cli.main(["inspect", str(path)])
        assert ended.value.code == 2
    assert "must hold manifest.json (a bundle), run.json (a run) or plan.json" in capsys.readouterr().err


def test_names_do_not_reach_the_terminals_controls(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "plan.json").write_text(json.dumps({"kind": "score\x1b[31m‮", "units": [], "rows": 1}))
    text = printed(capsys, str(tmp_path))
    assert "\x1b" not in text
    assert "‮" not in text
