"""What is ours in processes of others: it is found there, whatever lies in the working directory.

Ray puts the driver's working directory first on the path of its workers. What it ships by name, as it does with the
functions and classes of an imported module, is looked for there: a user's own `jobs.py` or `export.py` would be
executed. So it is shipped as bytes, inside a function that Ray's pickler copies by value, as it does with every
function that is made inside another. That function imports `jobs` from where it belongs, and with it our other
packages, before it unpickles anything. It may refer to nothing of this module, whose name would be looked for as well.
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
"""The directory that holds our packages: a checkout, or where they are installed."""

_PACKAGES = ("jobs", "export", "vae_core")


def shipped(function: Callable[..., Any], *arguments: object) -> Callable[..., Any]:
    """A function that calls `function` with `arguments` and those that it is given, for Ray to run in any process.

    All that is ours must be in `function` and `arguments`: what the function is given travels as Ray ships it.
    """
    load, ours = _loader(_pickled((function, arguments))), _PACKAGES

    def call(*more: Any) -> Any:
        loaded, first = load()
        try:
            return loaded(*first, *more)
        except Exception as error:
            if type(error).__module__.partition(".")[0] not in ours:
                raise
            # Its class would be looked for by name, by whoever of Ray's processes hears of it.
            text = traceback.format_exc()
        raise RuntimeError(text.strip())

    return call


def shipped_actor(make: Callable[..., Any], *arguments: object, failed: Mapping[str, object]) -> type:
    """A class for the actors of Ray Data: each calls `make(*arguments)` as it starts, and then what that returned.

    Ray Data would replace an actor that cannot start, and Ray restart one whose process dies of it, without end. These
    start all the same and answer with `failed`, to which they add the reason as `failure`.

    Args:
        make: returns what takes a batch of rows to a batch of rows.
        arguments: for `make`.
        failed: a row.
    """
    payload = _pickled((make, arguments))
    load, rehearsal, row = (
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
                    # The process before this one died. If it died of starting, so would this one: try it in another.
                    self._reason = self._rehearse()
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

        def _rehearse(self) -> str:
            environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
            done = subprocess.run(
                [sys.executable, *rehearsal], input=payload, env=environment, capture_output=True, check=False
            )
            if done.returncode == 0:
                return ""
            if done.returncode < 0:
                return f"its process dies of it ({signal.Signals(-done.returncode).name})"
            return done.stderr.decode(errors="replace").strip().rpartition("\n")[2] or f"exit code {done.returncode}"

    return Actor


def python_arguments(code: str) -> list[str]:
    """The arguments of a Python process that has our packages, and nothing of its working directory, and does `code`.

    For the rest of what it imports, PYTHONPATH should be the path of the process that starts it.
    """
    find = "import sys; sys.path.insert(0, sys.argv[1]); import jobs; sys.path.remove(sys.argv[1]); "
    return ["-P", "-c", find + code, ROOT]


def _loader(payload: bytes) -> Callable[[], Any]:
    """A function, to be copied by value, that unpickles `payload` in a worker."""
    root, strays = ROOT, _strays()

    def load() -> Any:
        sys.path[:] = [path for path in sys.path if path not in strays]
        sys.path.insert(0, root)  # on a node that has no such directory, the others on the path remain
        try:
            importlib.import_module("jobs")
        finally:
            sys.path.remove(root)
        return pickle.loads(payload)

    return load


def _strays() -> list[str]:
    """The working directory, unless this process looks for modules there itself: Ray's workers had better not."""
    here = os.path.abspath(os.curdir)  # noqa: PTH100 (as Ray spells it)
    return [] if here in map(os.path.abspath, sys.path) else [here]


def _pickled(content: object) -> bytes:
    from ray import cloudpickle

    data: bytes = cloudpickle.dumps(content)  # type: ignore[no-untyped-call]
    return data
