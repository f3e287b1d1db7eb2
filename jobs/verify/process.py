"""Run a runtime in a process of its own, which may crash or hang: each is an answer."""

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from jobs.verify.registry import Installed
from jobs.verify.work import give_up, is_done

_PAUSE = 0.05  # seconds between looks at the records
_LINES = 3  # of what it said last, to quote


def run(installed: Installed, folder: Path, graphs: Sequence[str], seconds: float) -> None:
    """Run all graphs of a work folder; after one that ends the process, go on with the next.

    Args:
        installed: the runtime.
        folder: its work folder.
        graphs: their names, in the order of the folder's task.
        seconds: after which a process is stopped that has not got further.
    """
    waiting = [graph for graph in graphs if not is_done(folder, graph)]
    while waiting:
        end = _run_once(installed, folder, seconds)
        waiting = [graph for graph in waiting if not is_done(folder, graph)]
        if waiting:
            give_up(folder, waiting[0], end)
            waiting = waiting[1:]


def _run_once(installed: Installed, folder: Path, seconds: float) -> str:
    """Run the graphs without a record; why it ended, should one of them have no answer then."""
    log = folder / "log.txt"
    environment = {**os.environ, **installed.environment}
    with log.open("wb") as stream:
        process = subprocess.Popen(
            [*installed.command, str(folder)],
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=stream,
            env=environment,
            start_new_session=True,  # so that a browser's own processes end with it
        )
        seen, since = "", time.monotonic()
        try:
            while process.poll() is None:
                if (now := _state(folder)) != seen:
                    seen, since = now, time.monotonic()
                if time.monotonic() - since > seconds:
                    return f"no answer within {seconds:g} s"
                time.sleep(_PAUSE)
        finally:
            _stop(process)
    said = " ".join(log.read_text(errors="replace").split("\n")[-_LINES - 1 :]).strip()
    code = process.returncode
    how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
    return f"the process ended with {how}{said and f': {said}'}"


def _state(folder: Path) -> str:
    """What changes whenever the runtime gets further."""
    records = sorted((folder / "results").glob("*.json"))
    return json.dumps([[path.name, path.stat().st_mtime_ns] for path in records])


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End a process and those that it started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
