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
    task, device = pickle.load(requests)
    work = None
    while True:
        try:
            unit = pickle.load(requests)
        except EOFError:
            return
        try:
            work = work or task.open(device)
            answer: Part | str = Part.join(work(unit))
        except Exception as error:
            answer = describe(error)
        pickle.dump(answer, answers)
        answers.flush()
