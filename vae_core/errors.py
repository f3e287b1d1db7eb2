"""The one error that is the user's to mend."""


class UserError(ValueError):
    """Something the user can put right: the message is one sentence saying what, where and what to do.

    The command line prints that sentence without a traceback and ends with exit code 2.
    """
