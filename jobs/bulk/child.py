"""The child process that runs suspicious units, started by `jobs.bulk.isolate`.

It reads a pickled (task, device) from standard input, then units one by one, and answers each with its part, or with an
error message if the work raised. It exits at the end of its input, so it does not outlive its parent.
"""

import os
import pickle
import sys

from jobs.bulk.contract import Part
from jobs.bulk.salvage import describe


def main() -> None:
    """Process units until the input ends."""
    # Reserve standard output for the answers; prints of libraries go to standard error.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    requests = sys.stdin.buffer
    try:
        task, device = pickle.load(requests)
    except (EOFError, pickle.UnpicklingError):
        return
    work = None
    while True:
        try:
            unit = pickle.load(requests)
        except (EOFError, pickle.UnpicklingError):  # the parent ended, in the middle of a unit or between two
            return
        try:
            work = work or task.open(device)
            answer: Part | str = Part.join(work(unit))
        except Exception as error:
            answer = describe(error)
        try:
            pickle.dump(answer, answers)
            answers.flush()
        except BrokenPipeError:
            os._exit(1)  # the parent was killed; at an ordinary end Python would try to flush once more
