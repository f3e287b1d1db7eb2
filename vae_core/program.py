"""The entry point of `vae`: it imports the package `jobs` beside this one, and no other.

`jobs` is a common name, and directories on PYTHONPATH, where Ray puts a job's working directory, take precedence over
installed packages. The name of this package is unique.
"""

import importlib
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import NoReturn


def main() -> None:
    """Run the command line of `jobs`."""
    prepare_process()
    here = str(Path(__file__).parents[1])
    sys.path.insert(0, here)
    try:
        importlib.import_module("jobs")
    finally:
        sys.path.remove(here)
    try:
        importlib.import_module("jobs.program.survival").survive_crashes(sys.argv[1:])  # before Arrow is imported
        with importlib.import_module("jobs.program.interruption").interruptible():
            importlib.import_module("jobs.program.cli").main()
    except KeyboardInterrupt:  # while the job is imported: there is nothing to say, nor to resume
        sys.exit(130)
    except SystemExit as ended:
        _end(ended.code if isinstance(ended.code, int) else int(ended.code is not None))
    _end(0)


def _end(code: int) -> NoReturn:
    """End the process at once, without what Python and native libraries do at an ordinary end.

    After an interruption or a refusal, threads may still be at work in Arrow or ONNX Runtime. While Python and these
    libraries take themselves apart, such a thread aborts the process or makes it wait forever.
    """
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):  # nobody reads it
            stream.flush()
    os._exit(code)


def prepare_process() -> None:
    """Make this process, which has just started, one that a command can run in; it may start again."""
    _open_streams()
    _restart_in_utf8()


def _open_streams() -> None:
    """Let standard streams that are closed lead nowhere: the next file to be opened would become the stream."""
    while (number := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(number, True)
    os.close(number)
    sys.stdin = sys.stdin or open(0, closefd=False)  # noqa: SIM115 — lasts as long as the process
    sys.stdout = sys.stdout or open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = sys.stderr or open(2, "w", closefd=False)  # noqa: SIM115


def _restart_in_utf8() -> None:
    """Start this program again with names of files in UTF-8, if the locale gives them another encoding.

    Python then reads the name `é.png` as it is on the disk, as pyarrow and Ray do, and so do the processes it starts.
    """
    if sys.getfilesystemencoding() != "utf-8":
        sys.stdout.flush()
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], os.environ | {"PYTHONUTF8": "1"})
