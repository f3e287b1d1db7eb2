"""The memory that a command takes."""

import subprocess
import sys
from collections.abc import Sequence

# Measured by the process itself: of a child, the system counts what its parent had when it was started, too.
_PROGRAM = """
import runpy, sys
module, sys.argv[1:] = sys.argv[1], sys.argv[2:]
try:
    runpy.run_module(module, run_name="__main__")
finally:
    with open("/proc/self/status") as status:
        print("peak:", next(line for line in status if line.startswith("VmHWM")).split()[1], file=sys.stderr)
"""


def peak(module: str, arguments: Sequence[str]) -> int:
    """Run a module as a program, and return its most resident memory in bytes.

    Raises:
        RuntimeError: it failed.
    """
    done = subprocess.run([sys.executable, "-c", _PROGRAM, module, *arguments], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{module} ended with {done.returncode}: {done.stderr[-2000:]}")
    return int(done.stderr.rpartition("peak:")[2]) << 10
