"""What a command says: the one place that decides what is written, where, and in which form.

Results go to standard output; notes, progress, warnings and errors to standard error. In text, a line each; on a
terminal, a bar or a status that is rewritten. With `--log-format json`, every line is a JSON object with `time`,
`level`, `job`, `event` and `message`, and with the fields that the event has. A job on Ray adds `ray_job_id`, once it
is connected, and `ray_submission_id`, if it was submitted. With `--quiet`, errors alone are written.

A process says what one command says: the settings are the process's, as those of `logging` are.
"""

import itertools
import json
import logging
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, TextIO

from tqdm import tqdm

from jobs.program.ray_job import job_id, submission_id
from vae_core.text import printable_lines

LogFormat = Literal["text", "json"]


@dataclass(frozen=True, kw_only=True)
class ConsoleOptions:
    """What the command says while it works."""

    quiet: bool = False
    """Write errors only: no progress, no notes and no result; the exit code and the output tell the rest."""
    log_format: LogFormat = "text"
    """`text`, or `json`: a JSON object on every line of standard error, and of standard output for results."""


def options_in(arguments: Sequence[str]) -> ConsoleOptions:
    """How to speak, found before anything is parsed, so that an error in the arguments is said that way, too."""
    words = [word for argument in arguments for word in argument.replace("_", "-").split("=", 1)]
    in_json = ("--log-format", "json") in itertools.pairwise(words)
    return ConsoleOptions(quiet="--quiet" in words, log_format="json" if in_json else "text")


class _Settings:
    """Of this process."""

    def __init__(self, job: str, options: ConsoleOptions) -> None:
        self.job, self.options = job, options
        self.live: tqdm | None = None  # what is rewritten at the bottom of the terminal at the moment
        self.errors: TextIO | None = None  # instead of standard error
        self.ray_job_id = ""  # the last one: lines may follow the end of a connection


_settings = _Settings("", ConsoleOptions())


@contextmanager
def speaking(job: str, options: ConsoleOptions) -> Iterator[None]:
    """Speak as a command, during the block; what libraries log or warn of takes the same form."""
    global _settings
    before, _settings = _settings, _Settings(job, options)
    handler = _Libraries(logging.ERROR if options.quiet else logging.WARNING)
    plain = options == ConsoleOptions()
    if not plain:
        logging.getLogger().addHandler(handler)
        logging.captureWarnings(True)
    try:
        yield
    finally:
        if not plain:
            logging.captureWarnings(False)
            logging.getLogger().removeHandler(handler)
        _settings = before


def note(step: str, message: str, /, **fields: Any) -> None:
    """Say something worth knowing; `step` is the job, or the step of it."""
    _write("info", "note", step, message, fields)


def warn(step: str, message: str, /, **fields: Any) -> None:
    """Say what somebody should look at, but stops nothing."""
    _write("warning", "warning", step, message, fields)


def progress(step: str, message: str, /, event: str = "progress", **fields: Any) -> None:
    """Say how far a step is; the fields say the same in numbers."""
    _write("info", event, step, message, fields)


def error(step: str, message: str, /, **fields: Any) -> None:
    """Say why a command ends, in a sentence."""
    _write("error", "error", step, message, fields)


def result(message: str, /, **fields: Any) -> None:
    """Say what came out, on standard output."""
    if not _settings.options.quiet:
        _write("info", "result", "", message, fields, sys.stdout)


def is_json() -> bool:
    """Whether lines are JSON."""
    return _settings.options.log_format == "json"


def is_live() -> bool:
    """Whether progress is shown as something that is rewritten: in text, on a terminal."""
    options = _settings.options
    return not options.quiet and options.log_format == "text" and _errors().isatty()


@contextmanager
def live(**bar: Any) -> Iterator[tqdm]:
    """A bar at the bottom of the terminal, which lines do not break; `is_live` must hold. Arguments: those of tqdm."""
    with tqdm(dynamic_ncols=True, file=_errors(), **bar) as shown:
        outer, _settings.live = _settings.live, shown
        try:
            yield shown
        finally:
            _settings.live = outer


@contextmanager
def errors_to(stream: TextIO) -> Iterator[None]:
    """Write what goes to standard error to another stream, while nobody else may write to standard error."""
    before, _settings.errors = _settings.errors, stream
    try:
        yield
    finally:
        _settings.errors = before


def _errors() -> TextIO:
    return _settings.errors or sys.stderr


def _write(
    level: str, event: str, step: str, message: str, fields: dict[str, Any], stream: TextIO | None = None
) -> None:
    options, stream = _settings.options, stream or _errors()
    if options.quiet and level != "error":
        return
    if is_json():
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        head = {"time": now, "level": level, "job": _settings.job or step, "event": event}
        task = {"task": step} if step and step != _settings.job else {}
        line = _json(head | _ray_job() | task | {"message": message.strip()} | fields)
    else:
        line = message if not step else f"vae {step}: {message}" if level == "error" else f"{step}: {message}"
        line = printable_lines(line)  # names of files, and what libraries say of them, are untrusted
    try:
        if _settings.live is not None:
            _settings.live.write(line, file=stream)
        else:
            print(line, file=stream, flush=True)
    except OSError as error:
        if stream is sys.stdout and not isinstance(error, BrokenPipeError):
            raise OSError(error.errno, error.strerror, "standard output") from error
        # Who read, such as `head`, has ended, or the log's disk is full: the job goes on, and Python may flush later.
        with Path(os.devnull).open("w") as nowhere:
            os.dup2(nowhere.fileno(), stream.fileno())


def _ray_job() -> dict[str, str]:
    """The ids of the Ray job, those that there are."""
    _settings.ray_job_id = job_id() or _settings.ray_job_id
    ids = {"ray_job_id": _settings.ray_job_id, "ray_submission_id": submission_id()}
    return {name: value for name, value in ids.items() if value}


def _json(value: dict[str, Any]) -> str:
    """In one line; JSON has no NaN and no infinities, which become null."""
    return json.dumps(json.loads(json.dumps(value, default=str), parse_constant=lambda _: None))


class _Libraries(logging.Handler):
    """Writes what libraries log as lines of ours."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record; its traceback, if any, is left to the error that ends the command."""
        level = "error" if record.levelno >= logging.ERROR else "warning"
        _write(level, "log", "", record.getMessage().strip(), {"logger": record.name})
