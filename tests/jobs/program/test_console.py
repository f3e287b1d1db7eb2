"""`--quiet` and `--log-format json`, of a real job, as a program that starts it sees them."""

import json
import logging
import math
import os
import shlex
import subprocess
import sys
import warnings
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from bundles import pictures
from image_files import LAYOUTS, write_parquet
from jobs.program import cli, console
from jobs.program.console import ConsoleOptions

ROOT = Path(__file__).parents[3]


class Said(NamedTuple):
    code: int
    output: str
    errors: str


@pytest.fixture
def score(tmp_path: Path, bundle: Path, source: str) -> list[str]:
    return ["score", "--bundle", str(bundle), "--images", source, "--output", str(tmp_path / "scores")]


@pytest.fixture
def source(tmp_path: Path) -> str:
    return write_parquet(tmp_path / "images.parquet", *LAYOUTS["packed"](pictures(40)))


def run(*arguments: str, module: bool = False) -> Said:
    """Run a command in a process of its own, as `vae NAME …` or as `python -m jobs.NAME …`."""
    name, *rest = arguments
    words = ["-m", f"jobs.{name}", *rest] if module else ["-m", "jobs.program.cli", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True, check=False, env=environment)
    return Said(done.returncode, done.stdout, done.stderr)


def events(text: str) -> list[dict[str, Any]]:
    """Every line as JSON, with what every line must have."""
    found = [json.loads(line) for line in text.splitlines()]
    for event in found:
        assert datetime.fromisoformat(event["time"]).tzinfo is not None
        assert event["level"] in ("info", "warning", "error")
        assert event["job"]
        assert event["event"]
        assert event["message"]
    return found


def test_text_is_a_sentence_on_standard_output_and_lines_on_standard_error(score: list[str]) -> None:
    said = run(*score)
    assert said.code == 0
    (sentence,) = said.output.splitlines()
    assert sentence.endswith("; see report.html")
    assert "score: 40 of 40 images (100%)" in said.errors


@pytest.mark.parametrize("module", [False, True])
def test_json_is_an_object_a_line_on_both_streams(score: list[str], tmp_path: Path, module: bool) -> None:
    said = run(*score, "--log-format", "json", module=module)
    assert said.code == 0
    (result,) = events(said.output)
    assert (result["event"], result["job"]) == ("result", "score")
    assert result["summary"] == json.loads((tmp_path / "scores" / "summary.json").read_text())
    progress = [event for event in events(said.errors) if event["event"] == "progress"]
    assert {event["job"] for event in progress} == {"score"}
    assert (40, 40, "images") in [(each["done"], each["total"], each["unit"]) for each in progress]


@pytest.mark.parametrize("module", [False, True])
@pytest.mark.parametrize("options", [["--quiet"], ["--quiet", "--log-format", "json"]])
def test_quiet_is_silent(score: list[str], tmp_path: Path, options: list[str], module: bool) -> None:
    assert run(*score, *options, module=module) == Said(0, "", "")
    assert (tmp_path / "scores" / "report.html").exists()


@pytest.mark.parametrize("quiet", [[], ["--quiet"]])
@pytest.mark.parametrize("json_format", [["--log-format", "json"], ["--log-format=json"]])
def test_an_error_is_said_in_either_form(tmp_path: Path, quiet: list[str], json_format: list[str]) -> None:
    wrong = ["inspect", str(tmp_path)]
    plain = run(*wrong, *quiet)
    (sentence,) = plain.errors.splitlines()
    said = run(*wrong, *quiet, *json_format)
    (error,) = events(said.errors)
    assert (plain.code, said.code) == (2, 2)
    assert (plain.output, said.output) == ("", "")
    assert sentence == f"vae inspect: {error['message']}"
    assert (error["level"], error["event"], error["job"]) == ("error", "error", "inspect")


@pytest.mark.parametrize("arguments", [["score", "--imagse", "x"], ["score", "--engine", "steam"], ["scrore"]])
def test_an_error_in_the_arguments_is_json_too(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main([*arguments, "--log-format", "json"])
    assert stop.value.code == 2
    (error,) = events(capsys.readouterr().err)
    assert error["event"] == "error"
    assert arguments[-1] in error["message"]
    assert not any("─" <= letter <= "╿" for letter in error["message"])


@pytest.mark.parametrize("command", cli.COMMANDS)
def test_every_command_has_both_options(capsys: pytest.CaptureFixture[str], command: str) -> None:
    with pytest.raises(SystemExit):
        cli.main([command, "--help"])
    said = capsys.readouterr().out
    assert "--quiet" in said
    assert "--log-format {text,json}" in said


def test_a_defect_is_one_object_with_its_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(options: object) -> None:
        raise ZeroDivisionError("a defect")

    monkeypatch.setattr("jobs.inspect.__main__.inspect", broken)
    with pytest.raises(SystemExit) as stop:
        cli.main(["inspect", "somewhere", "--log-format", "json"])
    assert stop.value.code == 1
    (error,) = events(capsys.readouterr().err)
    assert error["message"].startswith("ZeroDivisionError: a defect; this is a defect of vae-core")
    assert error["kind"] == "defect"
    assert "in broken" in error["traceback"]
    with pytest.raises(SystemExit) as stop:
        cli.main(["inspect", "somewhere"])
    assert stop.value.code == 1
    said = capsys.readouterr().err
    assert "in broken" in said
    assert said.splitlines()[-1].startswith("vae inspect: ZeroDivisionError: a defect; this is a defect of vae-core")


def test_what_libraries_say_takes_the_same_form(capsys: pytest.CaptureFixture[str]) -> None:
    with console.speaking("train", ConsoleOptions(log_format="json")):
        logging.getLogger("some.library").warning("the disk is %s", "full")
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            warnings.warn("an old option", DeprecationWarning, stacklevel=1)
    first, second = events(capsys.readouterr().err)
    assert (first["level"], first["message"], first["logger"]) == ("warning", "the disk is full", "some.library")
    assert "an old option" in second["message"]
    with console.speaking("train", ConsoleOptions(quiet=True)):
        logging.getLogger("some.library").warning("the disk is full")
    assert capsys.readouterr().err == ""


def test_a_reader_that_has_ended_stops_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        for _ in range(3):  # as in `vae verify … | head`
            console.result("a line")


@pytest.mark.parametrize("closed", ["0<&-", "1>&-", "2>&-", "0<&- 1>&- 2>&-"])
@pytest.mark.parametrize("command", [["--version"], ["inspect", "/nowhere"]])
def test_a_stream_that_is_closed_stops_nothing(closed: str, command: list[str]) -> None:
    program = [sys.executable, "-c", "from vae_core.program import main; main()", *command]
    usual = subprocess.run(program, capture_output=True, text=True, check=False)
    said = subprocess.run(f"{shlex.join(program)} {closed}", shell=True, capture_output=True, text=True, check=False)
    assert said.returncode == usual.returncode
    assert said.stdout == ("" if "1>" in closed else usual.stdout)
    assert said.stderr == ("" if "2>" in closed else usual.stderr)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has /dev/full")
def test_a_log_that_cannot_be_written_stops_nothing_but_a_result_does(monkeypatch: pytest.MonkeyPatch) -> None:
    with Path("/dev/full").open("w") as stream, monkeypatch.context() as patch:
        patch.setattr(sys, "stderr", stream)
        for _ in range(3):
            console.note("score", "a line")
        with Path("/dev/full").open("w") as full:
            patch.setattr(sys, "stdout", full)
            with pytest.raises(OSError, match="No space left on device: 'standard output'"):
                console.result("a line")
            os.dup2(stream.fileno(), full.fileno())  # what it still holds leads nowhere, as standard error does


def test_json_has_no_nan(capsys: pytest.CaptureFixture[str]) -> None:
    with console.speaking("train", ConsoleOptions(log_format="json")):
        console.progress("train", "epoch 1", event="epoch", elbo=math.nan, step=3)
    assert '"elbo": null, "step": 3}' in capsys.readouterr().err


def test_no_character_of_a_file_name_acts_on_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    console.error("score", "no image in 'a\x1b]0;b\x07\N{RIGHT-TO-LEFT OVERRIDE}gpj.exe\udc80'")
    console.result("rows  3\nname  a\rb")
    said = capsys.readouterr()
    assert said.err == "vae score: no image in 'a⟨U+001B⟩]0;b⟨U+0007⟩⟨U+202E⟩gpj.exe⟨U+DC80⟩'\n"
    assert said.out == "rows  3\nname  a⟨U+000D⟩b\n"


def test_the_ids_of_a_ray_job_are_there_when_it_has_them(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # That of a job which is connected: tests/integration/test_metrics_on_ray.py.
    def said() -> dict[str, Any]:
        with console.speaking("score", ConsoleOptions(log_format="json")):
            console.note("score", "starting")
        (line,) = events(capsys.readouterr().err)
        return line

    monkeypatch.setattr("jobs.program.console.job_id", lambda: "")
    monkeypatch.delenv("RAY_JOB_CONFIG_JSON_ENV_VAR", raising=False)
    assert not {"ray_job_id", "ray_submission_id"} & said().keys()
    for damaged in ("", "{", "[]", '{"metadata": null}', '{"runtime_env": {}}'):
        monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", damaged)
        assert "ray_submission_id" not in said()
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", '{"metadata": {"job_submission_id": "raysubmit_7"}}')
    assert said()["ray_submission_id"] == "raysubmit_7"
    ids = iter(["", "01000000", ""])
    monkeypatch.setattr("jobs.program.console.job_id", lambda: next(ids))
    with console.speaking("score", ConsoleOptions(log_format="json")):
        for message in ("before", "during", "after"):
            console.note("score", message)
    found = [line.get("ray_job_id") for line in events(capsys.readouterr().err)]
    assert found == [None, "01000000", "01000000"]
