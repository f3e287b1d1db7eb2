"""The errors that end a job: user-fixable ones and all others."""


class UserError(Exception):
    """A user-fixable error: the message is one sentence that says what is wrong, where, and what to do.

    The command line prints that sentence without a traceback and exits with code 2.
    """


class JobFailed(RuntimeError):
    """A job cannot continue, and neither its options nor its input are the cause: failing storage, dying workers.

    Finished work is kept: fix the cause and rerun the same command to resume. Exit code 1.
    """
