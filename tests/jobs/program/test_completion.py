"""Shell completion, asked of real shells."""

import shutil
import subprocess
from pathlib import Path

import pytest

from jobs.program import cli
from jobs.program.completion import SHELLS, options_of, script

ASK = """
source "$1"; shift
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))
_vae
printf '%s\\n' "${COMPREPLY[@]}"
"""


def bash(tmp_path: Path, *words: str) -> list[str]:
    """What bash offers for the last word."""
    path = tmp_path / "vae.bash"
    path.write_text(script("bash", cli.COMMANDS))
    done = subprocess.run(
        ["bash", "--norc", "-uc", ASK, "bash", path, *words], capture_output=True, text=True, check=True
    )
    assert not done.stderr
    return done.stdout.split()


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (["sc"], ["score"]),
        (["score", "--images"], ["--images"]),
        (["score", "--images", "a.png", "--engine", ""], ["auto", "ray", "local"]),
        (["score", "--likelihood", "re"], ["refined"]),
        (["score", "--log-format", "j"], ["json"]),
        (["export", "--ru"], ["--run"]),
        (["train", "--family", ""], ["conv", "features", "ladder"]),
        (["train", "--backb"], ["--backbone"]),
        (["train", "--recipe", "feat"], ["features", "features-few"]),
        (["train", "--latent-d"], ["--latent-dim"]),
        (["inspect", "--js"], ["--json"]),
        (["--print-completion", ""], list(SHELLS)),
        (["score", "--images", ""], []),  # files, which bash completes itself
    ],
)
def test_bash_offers(tmp_path: Path, words: list[str], offered: list[str]) -> None:
    assert bash(tmp_path, "vae", *words) == offered


def test_bash_knows_every_command_and_completes_files_elsewhere(tmp_path: Path) -> None:
    assert set(bash(tmp_path, "vae", "")) >= {*cli.COMMANDS, "--help", "--version"}
    path = tmp_path / "vae.bash"
    registered = subprocess.run(
        ["bash", "--norc", "-ec", 'source "$1"; complete -p vae', "bash", path],
        capture_output=True,
        text=True,
        check=True,
    )
    assert registered.stdout == "complete -o bashdefault -o default -F _vae vae\n"


@pytest.mark.parametrize("command", cli.COMMANDS)
def test_every_option_of_the_help_is_completed(capsys: pytest.CaptureFixture[str], command: str) -> None:
    with pytest.raises(SystemExit):
        cli.main([command, "--help"])
    shown = {word.strip(",") for word in capsys.readouterr().out.split() if word.startswith("--")}
    completed = {option.name for option in options_of(command)}
    mentioned = {name for name in completed if name in shown}
    assert mentioned == completed or command == "train"  # whose help is of one family, and completion of all
    assert {"--help", "--quiet", "--log-format"} <= completed


@pytest.mark.skipif(shutil.which("fish") is None, reason="fish is not installed")
@pytest.mark.parametrize(
    ("line", "offered"), [("vae sc", "score"), ("vae score --images", "--images"), ("vae score --engine ", "ray")]
)
def test_fish_offers(tmp_path: Path, line: str, offered: str) -> None:
    path = tmp_path / "vae.fish"
    path.write_text(script("fish", cli.COMMANDS))
    done = subprocess.run(
        ["fish", "--no-config", "-c", f"source {path}; complete -C '{line}'"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert offered in [each.split("\t")[0] for each in done.stdout.splitlines()]


def test_an_unknown_shell_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main(["--print-completion", "csh"])
    assert stop.value.code == 2
    assert "one of bash, zsh, fish, got csh" in capsys.readouterr().err
