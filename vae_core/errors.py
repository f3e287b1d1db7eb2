"""The errors that end a job: those of its user, of its storage, and all others."""


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
