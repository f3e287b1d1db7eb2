"""Shipped functions import our packages even if the working directory has files of the same names; without Ray."""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from export.storage import open_filesystem
from jobs.bulk.shared import missing
from jobs.bulk.shipping import ROOT, python_arguments, shipped


@pytest.fixture
def hostile(tmp_path: Path) -> Path:
    """A directory with files named like our packages, which fail when executed."""
    for name in ("jobs", "export", "vae_core"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit(f'{__name__} of the working directory was executed')")
    return tmp_path


def python(*arguments: str, cwd: Path, stdin: bytes = b"", path: str = "") -> str:
    """Output of a Python process that finds our packages only by PYTHONPATH."""
    environment = os.environ | {"PYTHONPATH": path or os.pathsep.join([ROOT, *sys.path])}
    command = [sys.executable, *arguments]
    done = subprocess.run(command, cwd=cwd, env=environment, input=stdin, capture_output=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode().strip()


def test_a_shipped_function_ignores_the_working_directory(hostile: Path) -> None:
    from ray import cloudpickle

    payload = cloudpickle.dumps(shipped(missing, [(__file__, Path(__file__).stat().st_size), ("/nowhere", 1)]))
    # As in a Ray worker.
    code = f"import pickle, sys; sys.path.insert(0, {str(hostile)!r}); print(pickle.load(sys.stdin.buffer)())"
    assert python("-c", code, cwd=hostile, stdin=payload) == "['/nowhere']"


def test_our_exceptions_become_built_in_ones(tmp_path: Path) -> None:
    from ray import cloudpickle

    for name, error in [
        ("nosuch://x", "RuntimeError Traceback.*vae_core.errors.UserError: cannot open nosuch://x.*"),
        (3, "AttributeError .*"),
    ]:
        code = """
import pickle, sys
try:
    pickle.load(sys.stdin.buffer)()
except Exception as error:
    print(type(error).__name__, error)
"""
        printed = python("-c", code, cwd=tmp_path, stdin=cloudpickle.dumps(shipped(open_filesystem, name)))
        assert re.fullmatch(error, printed, re.DOTALL), printed


def test_the_working_directory_is_dropped_unless_it_is_on_the_path_of_the_driver(
    hostile: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ray import cloudpickle

    monkeypatch.chdir(hostile)
    code = f"import pickle, sys; sys.path.insert(0, {str(hostile)!r}); print(pickle.load(sys.stdin.buffer)())"
    question = f"{str(hostile)!r} in __import__('sys').path"
    assert python("-c", code, cwd=Path(ROOT), stdin=cloudpickle.dumps(shipped(eval, question))) == "False"
    monkeypatch.syspath_prepend("")  # as in a notebook
    assert python("-c", code, cwd=Path(ROOT), stdin=cloudpickle.dumps(shipped(eval, question))) == "True"


def test_a_child_process_imports_our_packages(hostile: Path) -> None:
    arguments = python_arguments("import jobs.bulk.child, export.storage; print(jobs.__file__)")
    assert (
        python(*arguments, cwd=hostile, path=os.pathsep.join([str(hostile), *sys.path])) == f"{ROOT}/jobs/__init__.py"
    )


def test_running_a_module_ignores_the_working_directory(hostile: Path) -> None:
    (hostile / "jobs.py").unlink()  # Python itself would run this one before ours
    assert "usage: vae score" in python("-m", "jobs.score", "--help", cwd=hostile)


def test_the_program_ignores_the_working_directory_on_pythonpath(hostile: Path) -> None:
    # As with `ray job submit --working-dir`.
    (hostile / "vae_core.py").unlink()
    module, function = tomllib.loads((Path(ROOT) / "pyproject.toml").read_text())["project"]["scripts"]["vae"].split(
        ":"
    )
    code = f"import sys; sys.argv = ['vae', 'score', '--help']; from {module} import {function}; {function}()"
    assert "usage: vae score" in python("-P", "-c", code, cwd=hostile, path=os.pathsep.join([str(hostile), *sys.path]))
