"""The command line of a job: what its dataclass says, in groups, read back as that dataclass."""

import dataclasses
import importlib
import re

import pytest
import tyro

from commands import parse
from jobs.program import arguments, cli, console
from jobs.score.options import ScoreOptions
from jobs.train.__main__ import parse as parse_training
from vae_core import models

REQUIRED = ["--bundle", "b", "--images", "i", "j", "--output", "o"]


def text_of(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    with pytest.raises(SystemExit) as stop:
        cli.main([*words, "--help"])
    assert stop.value.code == 0
    return capsys.readouterr().out


def test_defaults_are_those_of_the_dataclass() -> None:
    assert parse("score", REQUIRED) == ScoreOptions(bundle="b", images=("i", "j"), output="o")


def test_values_reach_their_fields() -> None:
    given = [
        "--keep",
        "a",
        "b",
        "--fpr",
        "0.05",
        "--likelihood",
        "elbo",
        "--workers",
        "3",
        "--resize",
        "--unit-rows",
        "9",
    ]
    expected = {"keep": ("a", "b"), "fpr": 0.05, "likelihood": ("elbo",), "workers": 3, "resize": True, "unit_rows": 9}
    assert parse("score", [*REQUIRED, *given]) == ScoreOptions(bundle="b", images=("i", "j"), output="o", **expected)


def test_options_of_the_console_are_apart() -> None:
    command = arguments.parse("score", ScoreOptions, [*REQUIRED, "--quiet", "--log-format", "json"])
    assert command.options == ScoreOptions(bundle="b", images=("i", "j"), output="o")
    assert command.console == arguments.ConsoleOptions(quiet=True, log_format="json")
    assert console.options_in(["--quiet", "--log_format", "json"]) == command.console
    assert console.options_in(["--keep", "json"]) == arguments.ConsoleOptions()


@pytest.mark.parametrize("family", sorted(models.FAMILIES))
def test_a_family_of_models_has_its_own_options(family: str) -> None:
    words = ["--images", "i", "--run", "r", "--family", family, "--epochs", "4"]
    options = parse_training(words).options
    assert type(options.model) is models.config_type(family)
    assert options.train.epochs == 4


@pytest.mark.parametrize("command", cli.COMMANDS)
def test_help_begins_with_what_is_required_and_ends_with_examples(
    capsys: pytest.CaptureFixture[str], command: str
) -> None:
    text = text_of(capsys, command)
    kind = getattr(importlib.import_module(f"jobs.{command}.options"), f"{command.title()}Options")
    required = [field.name for field in dataclasses.fields(kind) if field.default is dataclasses.MISSING]
    options = re.findall(r"^\W (--[a-z-]+)", text, re.M)
    needed = [f"--{name.replace('_', '-')}" for name in required if name not in ("model", "train", "path")]
    assert options[: len(needed)] == needed
    assert f"    vae {command}" in text[text.rindex("--log-format") :]
    assert "None" not in text.replace("None need", "")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["score"], "--bundle BUNDLE, --images PATH [PATH ...] and --output DIR must be given"),
        (["inspect"], "PATH must be given"),
        (["score", *REQUIRED, "--imagse", "x"], "unknown argument --imagse, x; perhaps --images"),
        (["score", *REQUIRED, "--resize=3"], "unknown argument 3"),
        (["score", *REQUIRED, "--fpr"], "--fpr X must have a value, got none"),
        (["train", "--recipe"], "--recipe NAME must have a value, got none"),
        (["score", *REQUIRED, "--engine", "steam"], "--engine must be one of auto, ray, local, got steam"),
        (["score", *REQUIRED, "--workers", "2", "--workers=x"], "--workers N must be a whole number, got x"),
        (["score", *REQUIRED, "--fpr", "x"], "--fpr X must be a number, got x"),
        (["score", *REQUIRED, "--pixel-range", "1"], "--pixel-range BLACK WHITE must be numbers, got 1"),
        (["verify", "--bundle", "b", "--batch", "1", "x"], "--batch N [N ...] must be whole numbers, got 1 x"),
    ],
)
def test_what_is_wrong_is_a_sentence(capsys: pytest.CaptureFixture[str], words: list[str], sentence: str) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main(words)
    assert stop.value.code == 2
    said = capsys.readouterr().err
    assert said == f"vae {words[0]}: {sentence}; `vae {words[0]} --help` explains its options\n"


def test_a_placeholder_says_what_a_value_is() -> None:
    shown = {each.name: each.placeholder for each in arguments.arguments_of(ScoreOptions)}
    assert (shown["images"], shown["output"], shown["fpr"], shown["samples"]) == ("PATH [PATH ...]", "DIR", "X", "N")
    assert (shown["address"], shown["engine"], shown["resize"]) == ("HOST:PORT", None, None)
    assert next(each for each in arguments.arguments_of(ScoreOptions) if each.name == "bundle").default is tyro.MISSING


def test_help_on_a_terminal_of_one_column(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "1")
    with pytest.raises(SystemExit, match="0"):
        arguments.parse("score", ScoreOptions, ["--help"])
    assert "--bundle" in capsys.readouterr().out
