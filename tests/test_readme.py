"""The README promises nothing that is not there: its commands parse, its files exist, its script runs."""

import re
import shlex
from pathlib import Path

import pytest

from commands import parse
from jobs.train import recipes

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", README, re.DOTALL)


def commands() -> list[list[str]]:
    """Every `vae …` and `python -m jobs.…` in the README, as words."""
    text = "\n".join(block for language, block in BLOCKS if language == "sh")
    text += "\n" + "\n".join(re.findall(r"`((?:vae|python -m jobs\.)[^`]+)`", README))
    found = []
    for line in text.splitlines():
        words = shlex.split(line, comments=True)
        if "jobs" in (joined := " ".join(words)) and (match := re.search(r"python -m jobs\.(\w+) (.*)", joined)):
            found.append([match[1], *shlex.split(match[2])])
        elif words[:1] == ["vae"]:
            found.append(words[1:])
    return found


def test_there_are_commands() -> None:
    assert {"train", "export", "score", "sample", "prepare"} <= {command[0] for command in commands()}


@pytest.mark.parametrize("command", commands(), ids=" ".join)
def test_commands_parse(command: list[str]) -> None:
    name, *arguments = command
    if arguments != ["--help"]:
        parse(name, arguments)


def test_make_targets_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"^make (\w+)", README, re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_files_that_are_linked_exist() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert "://" in target or (ROOT / target).exists(), target


def test_recipes_that_are_named_ship() -> None:
    assert set(re.findall(r"--recipe (\S+)", README)) <= set(recipes.names())


def test_the_plain_script_trains(capsys: pytest.CaptureFixture[str]) -> None:
    script = next(block for language, block in BLOCKS if language == "python" and "Optimisation" in block)
    exec(compile(script, "README.md", "exec"), {})
    assert re.match(r"ELBO -\d+\.\d nats per image", capsys.readouterr().out)
