"""The errors that end a job: those of its user, of its storage, and all others."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar


class UserError(Exception):
    """A user-fixable error: the message is one sentence that says what is wrong, where, and what to do.

    The command line prints that sentence without a traceback and exits with code 2. Its subclasses say what is wrong:
    the function that reads it raises its errors as one of them (`raising`). All others are errors in the options.
    """

    kind: ClassVar[str] = "options"
    """What is wrong, for programs: the field `kind` of the error with `--log-format json`."""


class InputError(UserError):
    """The images, or a list, mask or label of them, cannot be used."""

    kind = "input"


class BundleError(UserError):
    """There is no bundle, or it is damaged, of another version, or not the one expected."""

    kind = "bundle"


class RunError(UserError):
    """There is no training run, or it is damaged or of another version."""

    kind = "run"


class OutputError(UserError):
    """The output must not be written to: it is a file, belongs to something else, or lies where it must not."""

    kind = "output"


class JobFailed(RuntimeError):
    """A job cannot continue, and neither its options nor its input are the cause: failing storage, dying workers.

    Finished work is kept: fix the cause and rerun the same command to resume. Exit code 1.
    """

    kind: ClassVar[str] = "job"


class StorageFailed(OSError, JobFailed):
    """Storage failed: the message is one sentence with the path and the reason.

    A full disk, a folder without permission or a service that does not answer can be mended.
    """

    kind = "storage"


_OF_KIND = {
    error.kind: error for error in (UserError, InputError, BundleError, RunError, OutputError, JobFailed, StorageFailed)
}


def of_kind(kind: str, message: str) -> UserError | JobFailed:
    """The error of a kind, such as one that was reported by another process."""
    return _OF_KIND[kind](message)


@contextmanager
def raising(error_type: type[UserError]) -> Iterator[None]:
    """Raise each UserError of the block as one of a subclass, unless it is of a subclass already.

    As a block or as a decorator, where something is read or checked: what is below need not know what it is for.
    """
    try:
        yield
    except UserError as error:
        if type(error) is not UserError:
            raise
        raise error_type(*error.args) from error.__cause__


@contextmanager
def parsing(where: str, advice: str, error_type: type[UserError] = UserError) -> Iterator[None]:
    """Parse the content of somebody else's file, which is in memory: whatever goes wrong is damage of the file.

    Readers of Parquet, .npz and safetensors raise errors of a dozen types, and so does code that expects a field.

    Args:
        where: the file's path or URL.
        advice: what to do.
        error_type: what to raise.

    Raises:
        UserError: anything was raised, such as by a reader; a UserError is passed on, and so is a StorageFailed.
    """
    try:
        yield
    except (UserError, StorageFailed):
        raise
    except Exception as error:
        reason = f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')}"
        raise error_type(f"{where} is damaged ({reason:.200}); {advice}") from error
