"""The errors that end a job: user-fixable ones and all others."""


class UserError(Exception):
    """Something the user can put right: the message is one sentence saying what, where and what to do.

    The command line prints that sentence without a traceback and ends with exit code 2.
    """


class JobFailed(RuntimeError):
    """A job cannot go on, and neither the user nor a single row is to blame: storage that fails, workers that die.

    What is finished stays finished, so the same command goes on once the cause is mended; exit code 1.
    """
