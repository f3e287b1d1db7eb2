"""The errors that end a job: those of its user, of its storage, and all others."""

from collections.abc import Iterator
from contextlib import contextmanager


class UserError(Exception):
    """A user-fixable error: the message is one sentence that says what is wrong, where, and what to do.

    The command line prints that sentence without a traceback and exits with code 2.
    """


class JobFailed(RuntimeError):
    """A job cannot continue, and neither its options nor its input are the cause: failing storage, dying workers.

    Finished work is kept: fix the cause and rerun the same command to resume. Exit code 1.
    """


class StorageFailed(OSError):
    """Storage failed: the message is one sentence with the path and the reason.

    Finished work is kept: a full disk, a folder without permission or a service that does not answer can be mended, and
    the same command goes on. Exit code 1.
    """


@contextmanager
def parsing(where: str, advice: str) -> Iterator[None]:
    """Parse the content of somebody else's file, which is in memory: whatever goes wrong is damage of the file.

    Readers of Parquet, .npz and safetensors raise errors of a dozen types, and so does code that expects a field.

    Args:
        where: the file's path or URL.
        advice: what to do.

    Raises:
        UserError: anything was raised, such as by a reader; a UserError is passed on, and so is a StorageFailed.
    """
    try:
        yield
    except (UserError, StorageFailed):
        raise
    except Exception as error:
        reason = f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')}"
        raise UserError(f"{where} is damaged ({reason:.200}); {advice}") from error
