"""The process in which suspicious units are done, started by `jobs.bulk.isolate`.

It reads a pickled (task, device) from standard input, then unit after unit, and answers each with its part,
or with a line of text if the work raised. It ends when its input does, so never outlives its parent for long.
"""

import os
import pickle
import sys

from jobs.bulk.contract import Part
from jobs.bulk.salvage import describe


def main() -> None:
    """Serve units until the input ends."""
    # The answers get the real standard output to themselves: what libraries print goes to standard error.
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
