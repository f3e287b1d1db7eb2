"""How a command ends: the one place that turns an error into a sentence and an exit code.

| exit code | kind | |
|---|---|---|
| 2 | `options`, `input`, `bundle`, `run`, `output` | a UserError, by its type |
| 2 | `installation` | a package is missing, or cannot be imported |
| 1 | `job`, `storage` | a JobFailed, any other OSError, and a cluster that failed |
| 1 | `memory` | memory ran out |
| 1 | `defect` | any other exception: its traceback, then the sentence |
| 130, 143 | `interrupted` | Ctrl-C, SIGTERM |
| 141 | | whoever read standard output, such as `head`, has gone: nothing is said, as by other programs |
"""

import os
import select
import signal
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

from export.storage import why
from jobs.program import console
from jobs.program.interruption import exit_code
from vae_core.errors import JobFailed, StorageFailed, UserError

_PACKAGES = ("jobs", "export", "vae_core")
_RESUME = "fix this and rerun the same command to resume"
_READER_HAS_GONE = 128 + getattr(signal, "SIGPIPE", 13)


class Ending(NamedTuple):
    """How a command ends that raised an error."""

    sentence: str
    exit_code: int
    kind: str
    """What is wrong, for programs."""


@contextmanager
def ended(name: str) -> Iterator[None]:
    """Run the command `vae NAME` in the block; an error in it, whatever it is, becomes a SystemExit.

    Args:
        name: of the command; empty for `vae` itself.
    """
    try:
        yield
    except SystemExit:
        _flush()
        raise
    except BaseException as error:
        if isinstance(error, BrokenPipeError) and _nobody_reads():
            _discard_output()
            raise SystemExit(_READER_HAS_GONE) from error
        ending = ending_of(name, error)
        details = {"traceback": "".join(traceback.format_exception(error))} if ending.kind == "defect" else {}
        if details and not console.is_json():
            console.error("", details["traceback"].rstrip())
        console.error(name, ending.sentence if name else f"vae: {ending.sentence}", kind=ending.kind, **details)
        raise SystemExit(ending.exit_code) from error
    _flush()


def ending_of(name: str, error: BaseException) -> Ending:
    """How the command `vae NAME` ends that raised an error."""
    error = _without_ray(error)
    match error:
        case UserError():
            return Ending(str(error), 2, error.kind)
        case JobFailed():
            sentence, *details = str(error).split("\n", 1)  # such as a traceback of a worker
            return Ending("\n".join([f"{sentence}; {_RESUME}", *details]), 1, error.kind)
        case ImportError() if (package := (error.name or "").partition(".")[0]) not in _PACKAGES:
            return Ending(_installation(name, error, package), 2, "installation")
        case MemoryError():
            reason = str(error).partition("\n")[0]
            advice = "use fewer --workers or a smaller --batch-size, or a machine with more"
            return Ending(f"memory ran out{reason and f' ({reason})'}; {advice}", 1, "memory")
        case OSError():
            where = f"{os.fsdecode(error.filename)}: " if isinstance(error.filename, str | bytes) else ""
            return Ending(f"{where}{why(error)}; {_RESUME}", 1, StorageFailed.kind)
        case KeyboardInterrupt():
            return Ending("interrupted; rerun the same command to resume", exit_code(error), "interrupted")
    reason = next(iter(str(error).strip().splitlines()), "")
    described = f"{type(error).__name__}{reason and f': {reason}'}"
    if type(error).__module__.startswith("ray."):
        return Ending(f"the Ray cluster failed: {described}; {_RESUME}", 1, JobFailed.kind)
    version = metadata.version("vae-core")
    report = f"this is a defect of vae-core {version}: report it with its traceback and the command"
    return Ending(f"{described}; {report}", 1, "defect")


def _without_ray(error: BaseException) -> BaseException:
    """The error that a task of Ray raised, if this is how Ray passes it on: its text is a traceback."""
    while type(error).__module__.startswith("ray.") and isinstance(cause := getattr(error, "cause", None), Exception):
        error = cause
    return error


def _installation(name: str, error: ImportError, package: str) -> str:
    """What to install for the command `vae NAME`."""
    command = f"`vae {name}`" if name else "`vae`"
    if not isinstance(error, ModuleNotFoundError):
        reason = " ".join(str(error).split())
        return f"{command} cannot import {package or 'a package'} ({reason}); install it again, as for other machines"
    install = "pip install 'vae-core[train]'"
    if package == "onnxruntime":
        install = "pip install 'vae-core[cpu]', or 'vae-core[gpu]' for an NVIDIA GPU"
    return f"{command} needs {package}, which is not installed; run {install}"


def _flush() -> None:
    """Write what standard output still holds, as Python would at its end, but with no traceback if nobody reads it."""
    try:
        sys.stdout.flush()
    except BrokenPipeError as error:
        _discard_output()
        raise SystemExit(_READER_HAS_GONE) from error


def _nobody_reads() -> bool:
    """Whether standard output is a broken pipe: a BrokenPipeError may be of another, such as a connection."""
    try:
        watched = select.poll()
        watched.register(sys.stdout.fileno(), 0)
        return any(event & select.POLLERR for _, event in watched.poll(0))
    except (AttributeError, OSError):  # on Windows; a stream of a notebook
        return False


def _discard_output() -> None:
    """Send what is written to standard output from now on, as by Python at its end, to nowhere."""
    with Path(os.devnull).open("w") as nowhere:
        os.dup2(nowhere.fileno(), sys.stdout.fileno())
