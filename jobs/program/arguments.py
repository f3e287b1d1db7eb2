"""A command's arguments: the options of its job, and those that every command has (`jobs.program.console`).

The options of a job are a dataclass, whose docstrings are the help. For the command line its fields are put in groups,
those that are required first, and each gets a placeholder that says what it is.
"""

import ast
import contextlib
import dataclasses
import inspect
import io
import os
import re
import shutil
import sys
import types
import typing
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Generic, NamedTuple, TypeVar

import tyro

from jobs.bulk.options import BulkOptions, InferenceOptions
from jobs.program.console import ConsoleOptions
from vae_core.errors import UserError

O = TypeVar("O")  # noqa: E741  # options of a job

# What a value is, where its type does not say it.
_PLACEHOLDERS = {
    **dict.fromkeys(
        ("images", "source", "clean", "backbone", "masks", "region", "review", "quality_features", "path"), "PATH"
    ),
    **dict.fromkeys(("output", "root"), "DIR"),
    **dict.fromkeys(("key", "keep", "label", "per_class", "recipe", "data", "split", "checkpoint"), "NAME"),
    "image_column": "NAME",
    "pixel_range": "BLACK WHITE",
    "bundle": "BUNDLE",
    "bundle_hash": "HASH",
    "run": "RUN",
    "address": "HOST:PORT",
    "mlflow": "URI",
    "outliers": "NAME=PATH",
    "for_": "RUNTIME",
    "size": "SIZE",
    "tile": "TILE",
}
_OF_TYPES = {str: "TEXT", int: "N", float: "X"}
_IN_WORDS = {int: "whole number", float: "number"}
_LEAST_COLUMNS = 20
# The groups of the help, in order: that of an option of ours is named after what it belongs to.
_REQUIRED, _JOB, _WHERE, _CONSOLE = "required", "job", "where_it_runs", "console"
_OF_CONFIGURATIONS = {"model": "model", "train": "training"}


class Command(NamedTuple, Generic[O]):
    """What a command line says."""

    options: O
    console: ConsoleOptions


class Argument(NamedTuple):
    """A field of a job's options, or of a configuration in them."""

    parent: str  # the field that holds the configuration; empty for the options themselves
    group: str
    name: str
    type: Any
    default: Any  # or MISSING
    meaning: str

    @property
    def option(self) -> str:
        """Its name on the command line. A field named like a keyword of Python ends in an underscore: for_."""
        return f"--{self.name.rstrip('_').replace('_', '-')}"

    @property
    def is_required(self) -> bool:
        """Whether it has no default."""
        return self.default is tyro.MISSING

    @property
    def is_positional(self) -> bool:
        """Whether it has no name on the command line."""
        return typing.get_origin(self.type) is Annotated

    @property
    def value_type(self) -> Any:
        """The type of its value, without None."""
        is_wrapped = typing.get_origin(self.type) is Annotated or isinstance(self.type, types.UnionType)
        return typing.get_args(self.type)[0] if is_wrapped else self.type

    @property
    def element(self) -> Any:
        """The type of its value, or of the first of its values."""
        return typing.get_args(self.value_type)[0] if self.is_repeated else self.value_type

    @property
    def is_repeated(self) -> bool:
        """Whether it takes several values."""
        return typing.get_origin(self.value_type) is tuple

    @property
    def placeholder(self) -> str | None:
        """What stands for its value in the help; None: as tyro writes it, such as a choice."""
        kind = self.value_type
        repeats = self.is_repeated and kind.__args__[1:] == (...,)
        if repeats:
            kind = self.element
        if kind not in _OF_TYPES:
            return _PLACEHOLDERS.get(self.name)
        name = _PLACEHOLDERS.get(self.name, _OF_TYPES[kind])
        return f"{name} [{name} ...]" if repeats else name

    @property
    def shown(self) -> str:
        """Its name and what stands for its value."""
        return " ".join(filter(None, ("" if self.is_positional else self.option, self.placeholder)))


def parse(
    name: str, kind: type[O], arguments: Sequence[str], default: O | None = None, examples: str | None = None
) -> Command[O]:
    """What `vae NAME ARGUMENTS` says.

    Args:
        name: of the command.
        kind: the dataclass of its options.
        arguments: after the name.
        default: options whose values are the defaults; `tyro.MISSING` where one is required.
        examples: what the help ends with.

    Raises:
        SystemExit: with 0, after the help was written.
        UserError: an option is missing or unknown, or a value is impossible.
    """
    found = [*arguments_of(kind, default), *(each._replace(group=_CONSOLE) for each in arguments_of(ConsoleOptions))]
    complaint = io.StringIO()
    if shutil.get_terminal_size().columns < _LEAST_COLUMNS:
        os.environ["COLUMNS"] = str(_LEAST_COLUMNS)  # narrower help is never laid out to its end
    try:
        with contextlib.redirect_stderr(complaint):
            parsed = tyro.cli(
                view(found),
                args=arguments,
                prog=f"vae {name}",
                description=inspect.getdoc(typing.get_origin(kind) or kind),
                config=(tyro.conf.OmitArgPrefixes,),
            )
    except SystemExit as stop:
        if stop.code:
            said = _sentence(_without_frame(complaint.getvalue()), found, arguments)
            raise UserError(f"{said}; `vae {name} --help` explains its options") from None
        if examples:
            print(f"\n{examples}")
        raise
    values: dict[str, dict[str, Any]] = {"": {}}
    for each in found:
        owner = _CONSOLE if each.group == _CONSOLE else each.parent
        values.setdefault(owner, {})[each.name] = getattr(getattr(parsed, each.group), each.name)
    console_values = values.pop(_CONSOLE)
    hints = _hints(kind)
    for parent in [parent for parent in values if parent]:
        values[""][parent] = hints[parent](**values[parent])
    return Command(kind(**values[""]), ConsoleOptions(**console_values))


def arguments_of(kind: Any, default: Any = None, parent: str = "") -> Iterator[Argument]:
    """The arguments of a dataclass of options, in its order; a configuration in it gives its own."""
    origin = typing.get_origin(kind) or kind
    explained, hints = meanings(origin), _hints(kind)
    shared = {field.name for base in (BulkOptions, InferenceOptions) for field in dataclasses.fields(base)}
    for field in dataclasses.fields(origin):
        value = _default(field) if default is None else getattr(default, field.name)
        hint = hints[field.name]
        if dataclasses.is_dataclass(hint):
            yield from arguments_of(hint, None if value is tyro.MISSING else value, field.name)
            continue
        if parent:
            group = _OF_CONFIGURATIONS[parent]
        elif value is tyro.MISSING:
            group = _REQUIRED
        else:
            group = _WHERE if field.name in shared | {"device", "cpus_per_worker"} else _JOB
        yield Argument(parent, group, field.name, hint, value, " ".join(explained[field.name].split()))


def view(arguments: Sequence[Argument]) -> Any:
    """The dataclass that tyro parses: a field for each group."""
    order = (_REQUIRED, _JOB, *_OF_CONFIGURATIONS.values(), _WHERE, _CONSOLE)
    groups: dict[str, list[Any]] = {name: [] for name in order}
    for each in arguments:
        hint = tyro.conf.arg(
            name=each.option.removeprefix("--"),
            help=each.meaning,
            metavar=each.placeholder,
            help_behavior_hint=None if _is_worth_showing(each.default) else "",
        )
        default = {} if each.is_required else {"default": each.default}
        groups[each.group].append((each.name, Annotated[each.type, hint], dataclasses.field(**default)))
    fields: list[Any] = [
        (name, dataclasses.make_dataclass(name, members, kw_only=True), dataclasses.field())
        for name, members in groups.items()
        if members
    ]
    return dataclasses.make_dataclass("Arguments", fields)


def meanings(kind: type) -> dict[str, str]:
    """The docstring under each field of a dataclass, including its bases."""
    found: dict[str, str] = {}
    for base in reversed(kind.__mro__):
        if not dataclasses.is_dataclass(base):
            continue
        (node,) = ast.parse(inspect.cleandoc(inspect.getsource(typing.cast(type, base)))).body
        assert isinstance(node, ast.ClassDef)
        for field, text in zip(node.body, node.body[1:], strict=False):
            match field, text:
                case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(meaning))):
                    found[name] = meaning
    return found


def given(argv: Sequence[str] | None) -> list[str]:
    """The arguments of a command: those given, else those of this process."""
    return list(sys.argv[1:] if argv is None else argv)


def _default(field: dataclasses.Field[Any]) -> Any:
    if field.default is not dataclasses.MISSING:
        return field.default
    return tyro.MISSING if field.default_factory is dataclasses.MISSING else field.default_factory()


def _is_worth_showing(default: Any) -> bool:
    """Whether a default says more than that an option was left out."""
    return default is not tyro.MISSING and default is not None and default is not False and default != ()


def _hints(kind: Any) -> dict[str, Any]:
    """The type of each field, where the type parameters of `kind` are known, with what it is annotated with."""
    origin = typing.get_origin(kind) or kind
    parameters = dict(zip(getattr(origin, "__parameters__", ()), typing.get_args(kind), strict=False))
    hints = typing.get_type_hints(origin, include_extras=True)
    return {name: parameters.get(hint, hint) for name, hint in hints.items()}


def _sentence(text: str, found: Sequence[Argument], words: Sequence[str]) -> str:
    """What is wrong with the words of a command, from the text of tyro, which is left as it is where it is unknown."""
    by_option = {each.option: each for each in found}
    if match := re.search(r"Unrecognized options: (.+?)(?: Perhaps you meant: (--\S+).*| For full.*|$)", text):
        return f"unknown argument {match[1]}{f'; perhaps {match[2]}' if match[2] else ''}"
    if match := re.search("Missing from .+?: (.*)", text):
        listed = match[1].split()
        missing = [each.shown for each in found if each.is_required and (each.is_positional or each.option in listed)]
        return f"{' and '.join(filter(None, [', '.join(missing[:-1]), missing[-1]]))} must be given"
    if match := re.search(r"Missing value for argument '(--[\w-]+)'", text):
        return f"{by_option[match[1]].shown} must have a value, got none"
    if match := re.search(r"invalid choice '(.*)' for argument '(--[\w-]+)'. Expected one of \((.*?),?\)", text):
        return f"{match[2]} must be one of {match[3].replace(chr(39), '')}, got {match[1]}"
    if match := re.search(r"Error parsing (--[\w-]+):", text):
        argument = by_option[match[1]]
        if what := _IN_WORDS.get(argument.element):
            what = f"{what}s" if argument.is_repeated else f"a {what}"
            return f"{argument.shown} must be {what}, got {_given(match[1], words)}"
    return text


def _given(option: str, words: Sequence[str]) -> str:
    """The value that an option was given last."""
    values: list[str] = []
    is_here = False
    for word in words:
        if word.startswith("--"):
            named, _, value = word.partition("=")
            is_here = named.replace("_", "-") == option
            if is_here:
                values = [value] if value else []
        elif is_here:
            values.append(word)
    return " ".join(values) or "none"


def _without_frame(text: str) -> str:
    """A message of tyro without the frame around it, of box characters or their ASCII look-alikes, in one line."""
    return " ".join(re.sub(r"[─-╿]|-{3,}|(?<!\S)[|+](?!\S)", " ", text).split())
