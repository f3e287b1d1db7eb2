"""Every kind of error: its sentence, its exit code, its kind."""

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest
import ray.exceptions

from jobs.program.ending import ending_of
from jobs.program.interruption import Terminated
from vae_core.errors import (
    BundleError,
    InputError,
    JobFailed,
    OutputError,
    RunError,
    StorageFailed,
    UserError,
    of_kind,
    raising,
)

ROOT = Path(__file__).parents[3]
RESUME = "; fix this and rerun the same command to resume"
FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/out/a.png")


def of_ray(cause: Exception) -> BaseException:
    """As `ray.get` raises what a task raised: its text is the traceback of the task."""
    found: BaseException = ray.exceptions.RayTaskError("task", "Traceback …", cause).as_instanceof_cause()
    return found


@pytest.mark.parametrize(
    ("error", "sentence", "code", "kind"),
    [
        (UserError("--a must be b"), "--a must be b", 2, "options"),
        (BundleError("b is damaged"), "b is damaged", 2, "bundle"),
        (of_ray(InputError("i is damaged")), "i is damaged", 2, "input"),
        (JobFailed("workers died\nTraceback …"), f"workers died{RESUME}\nTraceback …", 1, "job"),
        (StorageFailed("cannot write o: full"), f"cannot write o: full{RESUME}", 1, "storage"),
        (FULL, f"/out/a.png: No space left on device{RESUME}", 1, "storage"),
        (of_ray(FULL), f"/out/a.png: No space left on device{RESUME}", 1, "storage"),
        (TimeoutError("timed out\nafter 3 s"), f"timed out after 3 s{RESUME}", 1, "storage"),
        (ConnectionResetError(), f"ConnectionResetError{RESUME}", 1, "storage"),
        (BrokenPipeError(errno.EPIPE, "Broken pipe"), f"Broken pipe{RESUME}", 1, "storage"),
        (ray.exceptions.NodeDiedError("n died"), f"the Ray cluster failed: NodeDiedError: n died{RESUME}", 1, "job"),
        (KeyboardInterrupt(), "interrupted; rerun the same command to resume", 130, "interrupted"),
        (Terminated(), "interrupted; rerun the same command to resume", 143, "interrupted"),
    ],
)
def test_an_error_has_its_sentence(error: BaseException, sentence: str, code: int, kind: str) -> None:
    assert ending_of("score", error) == (sentence, code, kind)


@pytest.mark.parametrize("error", [MemoryError(), pa.ArrowMemoryError("malloc of size 9 failed")])
def test_memory_that_runs_out(error: MemoryError) -> None:
    ending = ending_of("score", error)
    assert (ending.exit_code, ending.kind) == (1, "memory")
    assert ending.sentence.startswith("memory ran out")
    assert str(error) in ending.sentence


def test_a_package_that_is_missing_or_broken() -> None:
    ending = ending_of("train", ModuleNotFoundError("No module named 'torch'", name="torch.nn"))
    assert ending == (
        "`vae train` needs torch, which is not installed; run pip install 'vae-core[train]'",
        2,
        "installation",
    )
    ending = ending_of("train", ImportError("libcudart.so.13: cannot open\nshared object file", name="torch._C"))
    assert "`vae train` cannot import torch (libcudart.so.13: cannot open shared object file)" in ending.sentence
    assert ending_of("train", ImportError("cannot import name 'x'", name="jobs.train")).kind == "defect"


@pytest.mark.parametrize("error", [ZeroDivisionError("by zero"), of_ray(ZeroDivisionError("by zero"))])
def test_anything_else_is_a_defect(error: BaseException) -> None:
    ending = ending_of("score", error)
    assert (ending.exit_code, ending.kind) == (1, "defect")
    assert ending.sentence.startswith("ZeroDivisionError: by zero; this is a defect of vae-core ")


def test_errors_are_raised_as_what_they_are_about() -> None:
    @raising(BundleError)
    def read(error: Exception) -> None:
        raise error from KeyError("x")

    with pytest.raises(BundleError, match=r"^no bundle$") as caught:
        read(UserError("no bundle"))
    assert isinstance(caught.value.__cause__, KeyError)
    for other in (OutputError("a"), StorageFailed("b"), ValueError("c")):
        with pytest.raises(type(other)):
            read(other)


@pytest.mark.parametrize("error", [UserError, InputError, BundleError, RunError, OutputError, JobFailed, StorageFailed])
def test_a_kind_crosses_processes(error: type[UserError | JobFailed]) -> None:
    again = of_kind(error.kind, "why")
    assert type(again) is error
    assert str(again) == "why"


@pytest.mark.parametrize("buffered", ["", "1"])
@pytest.mark.parametrize("words", [["--help"], ["score", "--help"], ["--print-completion", "bash"]])
def test_help_that_nobody_reads_ends_silently(words: list[str], buffered: str) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    environment = os.environ | {"PYTHONUNBUFFERED": buffered, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "jobs.program.cli", *words]
    with os.fdopen(writing, "w") as stream:
        done = subprocess.run(command, stdout=stream, stderr=subprocess.PIPE, env=environment, check=False)
    assert (done.returncode, done.stderr) == (128 + signal.SIGPIPE, b"")
