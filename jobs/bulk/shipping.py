"""Ship functions to Ray's processes so that they import our packages, whatever is in the working directory.

Ray puts the driver's working directory first on sys.path of its workers. Functions and classes of imported modules are
pickled by name and resolved there: a user's own `jobs.py` or `export.py` would be executed. So we ship them as bytes
inside a nested function, which Ray's pickler copies by value. That function imports `jobs` from its proper place, and
with it our other packages, before it unpickles anything. It must not refer to this module, whose name would be resolved
in the same way.
"""

import importlib
import os
import pickle
import signal
import socket
import subprocess
import sys
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

ROOT = str(Path(__file__).parents[2])
"""The directory of our packages: a checkout, or where they are installed."""

_PACKAGES = ("jobs", "export", "vae_core")


def shipped(function: Callable[..., Any], *arguments: object) -> Callable[..., Any]:
    """Wrap `function` with leading `arguments` for Ray to run in any process.

    Objects of our packages must be in `function` and `arguments`: Ray pickles later arguments by name.
    """
    load, ours = _loader(_pickled((function, arguments))), _PACKAGES

    def call(*more: Any) -> Any:
        loaded, first = load()
        try:
            return loaded(*first, *more)
        except Exception as error:
            if type(error).__module__.partition(".")[0] not in ours:
                raise
            # Ray's other processes would resolve its class by name, so raise a built-in one instead.
            text = traceback.format_exc()
        raise RuntimeError(text.strip())

    return call


def shipped_actor(make: Callable[..., Any], *arguments: object, failed: Mapping[str, object]) -> type:
    """An actor class for Ray Data: an instance calls `make(*arguments)` on start, and its result for every batch.

    Ray would restart or replace an actor that fails or crashes on start without limit. These actors start anyway, and
    return the row `failed` with the reason added as `failure`.

    Args:
        make: returns a function from a batch of rows to a batch of rows.
        arguments: for `make`.
        failed: a row.
    """
    payload = _pickled((make, arguments))
    load, unpickle, row = (
        _loader(payload),
        python_arguments("import pickle; pickle.load(sys.stdin.buffer)"),
        {**failed},
    )

    class Actor:
        def __init__(self) -> None:
            self._call: Any = None
            try:
                import ray

                self._reason = ""
                if ray.get_runtime_context().was_current_actor_reconstructed:
                    # The previous process crashed, perhaps on start, as this one would: try in a subprocess first.
                    self._reason = self._try_in_subprocess()
                if not self._reason:
                    made, first = load()
                    self._call = made(*first)
            except Exception as error:
                self._reason = f"{type(error).__name__}: {error}"

        def __call__(self, batch: dict[str, Any]) -> Any:
            if self._call is not None:
                return self._call(batch)
            reason = f"a worker cannot start on {socket.gethostname()}: {' '.join(self._reason.split())}"
            return {name: [value] for name, value in {**row, "failure": reason}.items()}

        def _try_in_subprocess(self) -> str:
            environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
            done = subprocess.run(
                [sys.executable, *unpickle], input=payload, env=environment, capture_output=True, check=False
            )
            if done.returncode == 0:
                return ""
            if done.returncode < 0:
                return f"its process crashes ({signal.Signals(-done.returncode).name})"
            return done.stderr.decode(errors="replace").strip().rpartition("\n")[2] or f"exit code {done.returncode}"

    return Actor


def python_arguments(code: str) -> list[str]:
    """Arguments of a Python process that runs `code` with our packages, and without its working directory on sys.path.

    For other imports, set PYTHONPATH to the sys.path of the parent process.
    """
    find = "import sys; sys.path.insert(0, sys.argv[1]); import jobs; sys.path.remove(sys.argv[1]); "
    return ["-P", "-c", find + code, ROOT]


def _loader(payload: bytes) -> Callable[[], Any]:
    """A function, copied by value, that unpickles `payload` in a worker."""
    root, excluded = ROOT, _excluded_paths()

    def load() -> Any:
        sys.path[:] = [path for path in sys.path if path not in excluded]
        sys.path.insert(0, root)  # if this node has no such directory, the other entries apply
        try:
            importlib.import_module("jobs")
        finally:
            sys.path.remove(root)
        return pickle.loads(payload)

    return load


def _excluded_paths() -> list[str]:
    """The working directory, which Ray adds to sys.path of workers, unless this process has it on its own sys.path."""
    here = os.path.abspath(os.curdir)  # noqa: PTH100 (as Ray spells it)
    return [] if here in map(os.path.abspath, sys.path) else [here]


def _pickled(content: object) -> bytes:
    from ray import cloudpickle

    data: bytes = cloudpickle.dumps(content)  # type: ignore[no-untyped-call]
    return data
