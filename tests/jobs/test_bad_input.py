"""User errors of single options: exit code 2, one sentence on standard error, no data lost and no files left behind.

Those that many commands share are in `tests/jobs/program/test_every_refusal.py`.
"""

import json
from pathlib import Path

import pytest

from jobs.program import cli
from training_runs import config, found, start, write_images


@pytest.fixture
def images(tmp_path: Path) -> str:
    return str(write_images(tmp_path / "images.parquet", 60))


@pytest.fixture
def complain(capfd: pytest.CaptureFixture[str]):  # type: ignore[no-untyped-def]
    """Run a command that must fail, and return its error message."""

    def run(*arguments: str) -> str:
        capfd.readouterr()
        with pytest.raises(SystemExit) as stop:
            cli.main(arguments)
        said = capfd.readouterr().err
        assert stop.value.code == 2, said
        assert "Traceback" not in said
        return said

    return run


def sentence(said: str, command: str) -> str:
    """The error message, checked to be one line."""
    lines = said.strip().splitlines()
    assert len(lines) == 1, said
    assert lines[0].startswith(f"vae {command}: ")
    return lines[0]


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--epochs", "0", "epochs must be at least 1, got 0"),
        ("--widths", "0", "widths"),
        ("--recipe", "fashion", "or a path ending in .toml, got fashion"),
    ],
)
def test_values_out_of_range(complain, tmp_path: Path, images: str, option: str, value: str, said: str) -> None:  # type: ignore[no-untyped-def]
    run = ["--images", images, "--run", f"{tmp_path}/run", option, value]
    assert said in sentence(complain("train", *run), "train")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("option", "value"), [("--epochs", "many"), ("--epocs", "3"), ("--likelihood", "student")])
def test_unknown_options_and_values(complain, tmp_path: Path, images: str, option: str, value: str) -> None:  # type: ignore[no-untyped-def]
    assert option.strip("-") in complain("train", "--images", images, "--run", f"{tmp_path}/run", option, value)
    assert not (tmp_path / "run").exists()


def test_a_recipe_with_a_misspelt_key(complain, tmp_path: Path, images: str) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "my.toml").write_text("[train]\nlearning_rat = 0.1\n")
    said = complain("train", "--images", images, "--run", f"{tmp_path}/run", "--recipe", f"{tmp_path}/my.toml")
    assert "unknown key 'learning_rat'" in sentence(said, "train")
    assert not (tmp_path / "run").exists()


def test_a_run_with_other_options_is_not_resumed(complain, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    images = write_images(tmp_path / "images.parquet")
    start(tmp_path / "run", found(images), config())
    before = (tmp_path / "run" / "run.json").read_bytes()
    said = complain("train", "--images", str(images), "--run", f"{tmp_path}/run", "--latent-dim", "7")
    assert "model latent_dim must be 3, as when" in sentence(said, "train")
    assert (tmp_path / "run" / "run.json").read_bytes() == before


def test_output_that_belongs_to_another_job(complain, tmp_path: Path, bundle: Path, images: str) -> None:  # type: ignore[no-untyped-def]
    cli.main(["sample", "--bundle", str(bundle), "--count", "3", "--output", f"{tmp_path}/out"])
    before = {path: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()}
    for command in (
        ["sample", "--count", "4"],
        ["sample", "--count", "3", "--seed", "9"],
        ["score", "--images", images],
    ):
        said = complain(*command, "--bundle", str(bundle), "--output", f"{tmp_path}/out")
        assert f"{tmp_path}/out" in said
        assert len(said.strip().splitlines()) == 1
    assert {path: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()} == before


def test_every_row_failing_is_an_error(complain, tmp_path: Path, bundle: Path) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.png").write_text("no picture")
    said = complain("score", "--images", f"{tmp_path}/in", "--bundle", str(bundle), "--output", f"{tmp_path}/out")
    assert "none of" in said.splitlines()[-1] or "no image" in said.splitlines()[-1]
    assert not (tmp_path / "out" / "summary.json").exists()


def test_a_rate_finer_than_the_calibration(complain, tmp_path: Path, bundle: Path, images: str) -> None:  # type: ignore[no-untyped-def]
    options = ["--images", images, "--bundle", str(bundle), "--output", f"{tmp_path}/out"]
    assert "calibration images" in sentence(complain("score", *options, "--fpr", "1e-9"), "score")
    assert "--fdr must lie between 0 and 1, got 1.5" in sentence(complain("score", *options, "--fdr", "1.5"), "score")
    assert not (tmp_path / "out").exists()


def test_summary_is_json(tmp_path: Path, bundle: Path) -> None:
    cli.main(["sample", "--bundle", str(bundle), "--count", "2", "--output", f"{tmp_path}/out"])
    assert json.loads((tmp_path / "out" / "summary.json").read_text())["samples"] == 2


@pytest.mark.parametrize("command", ["score", "sample", "evaluate", "calibrate", "inspect", "export", "verify"])
def test_every_command_that_opens_a_bundle_refuses_another_than_the_pinned_one(  # type: ignore[no-untyped-def]
    complain, tmp_path: Path, images: str, bundle: Path, command: str
) -> None:
    given = [str(bundle)] if command == "inspect" else ["--bundle", str(bundle)]
    given += ["--output", f"{tmp_path}/out"] if command not in ("inspect", "verify") else []
    given += ["--count", "3"] if command == "sample" else []
    given += ["--images", images] if command in ("score", "evaluate", "calibrate") else []
    given += ["--for", "web"] if command == "export" else []
    said = sentence(complain(command, *given, "--bundle-hash", "0" * 64), command)
    assert f"must be the bundle of hash {'0' * 64}, got " in said
    assert not (tmp_path / "out").exists()
    assert "64 hexadecimal digits" in complain(command, *given, "--bundle-hash", "abc")
