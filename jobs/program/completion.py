"""Shell completion of the program: `vae --print-completion bash|zsh|fish`.

The script has every command with its options and their choices, and completes files elsewhere. It is made from the
options themselves, and runs nothing of ours when a key is pressed: print it again after an update.
"""

import importlib
import shlex
import typing
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from export.targets import names
from jobs.program.arguments import arguments_of
from jobs.program.console import ConsoleOptions
from jobs.train import recipes
from vae_core import models

SHELLS = ("bash", "zsh", "fish")
_ALWAYS = {"--help": (), "--version": (), "--print-completion": SHELLS}


class Option(NamedTuple):
    """An option: `choices` of its value, if it has some, and what it means."""

    name: str
    choices: tuple[str, ...]
    meaning: str


def script(shell: str, commands: Mapping[str, str]) -> str:
    """The script for one of `SHELLS`, of commands and what they do."""
    options = {command: list(options_of(command)) for command in commands}
    if shell == "fish":
        return _fish(commands, options)
    head = "autoload -U +X bashcompinit && bashcompinit\n" if shell == "zsh" else ""
    return head + _bash(options)


def options_of(command: str) -> Iterator[Option]:
    """The options of a command; those of `vae train` for every family of models."""
    from jobs.train.options import TrainOptions

    kinds: list[Any] = [TrainOptions[models.config_type(name)] for name in models.names()]  # type: ignore[misc]
    if command != "train":
        kinds = [getattr(importlib.import_module(f"jobs.{command}.options"), f"{command.title()}Options")]
    found = {each.name: each for kind in [*kinds, ConsoleOptions] for each in arguments_of(kind)}
    named = {"recipe": tuple(recipes.names()), "for_": names()} | (
        {"family": tuple(models.names())} if command == "train" else {}
    )
    for name, each in found.items():
        if each.is_positional:
            continue
        choices = named.get(name) or _choices(each.type)
        yield Option(each.option, choices, each.meaning.split(". ")[0].split("; ")[0])
    yield Option("--help", (), "show the options and exit")


def _choices(kind: Any) -> tuple[str, ...]:
    """The values that a type allows, where these are few: of a literal, also if it is optional or repeated."""
    if typing.get_origin(kind) is typing.Literal:
        return tuple(map(str, typing.get_args(kind)))
    return next((found for each in typing.get_args(kind) if (found := _choices(each))), ())


def _bash(options: Mapping[str, list[Option]]) -> str:
    """Words of the command line up to the cursor decide; where nothing is offered, bash completes files."""
    values = [
        f"    {shlex.quote(f'{command} {option.name}')}) words={shlex.quote(' '.join(option.choices))} ;;"
        for command, found in options.items()
        for option in found
        if option.choices
    ]
    names = [
        f"    {command}) words={shlex.quote(' '.join(option.name for option in found))} ;;"
        for command, found in options.items()
    ]
    return "\n".join(
        [
            "_vae() {",
            '  local current="${COMP_WORDS[COMP_CWORD]}" before="${COMP_WORDS[COMP_CWORD-1]}" words=""',
            "  if [[ $COMP_CWORD == 1 ]]; then",
            f"    words={shlex.quote(' '.join([*options, *_ALWAYS]))}",
            '  elif [[ $current == -* ]]; then case "${COMP_WORDS[1]}" in',
            *names,
            "    esac",
            '  else case "${COMP_WORDS[1]} $before" in',
            *values,
            "    esac",
            f"    [[ ${{COMP_WORDS[1]}} == --print-completion ]] && words={shlex.quote(' '.join(SHELLS))}",
            "  fi",
            '  COMPREPLY=($(compgen -W "$words" -- "$current"))',
            "}",
            "complete -o default -o bashdefault -F _vae vae",
            "",
        ]
    )


def _fish(commands: Mapping[str, str], options: Mapping[str, list[Option]]) -> str:
    lines = [
        f"complete -c vae -n __fish_use_subcommand -f -a {name} -d {_quoted(what)}" for name, what in commands.items()
    ]
    for command, found in options.items():
        for option in found:
            value = f" -x -a {_quoted(' '.join(option.choices))}" if option.choices else ""
            lines.append(
                f"complete -c vae -n {_quoted(f'__fish_seen_subcommand_from {command}')} "
                f"-l {option.name[2:]}{value} -d {_quoted(option.meaning)}"
            )
    return "\n".join([*lines, ""])


def _quoted(text: str) -> str:
    """In single quotes of fish, in which a backslash protects a quote."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
