"""Connect to Ray: to the cluster at an address, to an existing connection, or to a new local cluster.

Ray is imported only on use.
"""

import logging
import os
import re
import socket
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple, TextIO

from jobs.bulk.machine import cores
from jobs.bulk.progress import working
from jobs.program import console
from jobs.program.interruption import kept
from vae_core.errors import JobFailed, UserError

# Only receipts pass through the object store of a local cluster; by default Ray would take 30% of memory.
_OBJECT_STORE_BYTES = 256 << 20
_CONNECT_SECONDS = 10.0
_START_ATTEMPTS = 3
_SHORT_TEMPORARY = "/tmp"
_LONGEST_TEMPORARY = 107 - len("/ray/session_2000-01-01_00-00-00_000000_1234567/sockets/plasma_store")


class Cluster(NamedTuple):
    """Resources of the connected cluster."""

    cpus: int  # whole CPUs per node, summed
    gpus: int
    is_shared: bool  # not started by this job, so others may use it


@contextmanager
def connect(address: str | None, cpus: int | None = None) -> Iterator[Cluster]:
    """Connect to the cluster at `address` (or RAY_ADDRESS), else start a local one for the duration of the block.

    Args:
        address: as for `ray.init`; None for none.
        cpus: minimum number of CPUs that a local cluster claims, even if the machine has fewer.

    Raises:
        UserError: no cluster answers at the address.
        JobFailed: a local cluster cannot be started.
    """
    address = address or os.environ.get("RAY_ADDRESS")
    if address:
        _check_reachable(address)
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # Ray's core logs an error for every actor pool (ray-project/ray#53727): a restart can fail if the pool's arguments
    # were lost. Ray Data replaces such actors anyway.
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    # Workers of a local cluster are the job: at Ray's niceness of 15 they would starve beside any other load.
    os.environ.setdefault("RAY_worker_niceness", "0")
    import ray

    if ray.is_initialized():
        yield _describe(is_shared=True)
        return
    quiet: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
    try:
        with _silenced_stderr(), kept(), working("Ray", "connecting" if address and address != "local" else "starting"):
            if address and address != "local":
                ray.init(address=address, **quiet)
            else:
                _start(max(cpus or 1, cores()), quiet)
    except Exception as error:  # Ray raises many types, including plain `Exception`
        ray.shutdown()
        reason = str(error).strip().split("\n")[0]
        if not address or address == "local":
            raise JobFailed(f"cannot start a local Ray cluster ({reason}); try again, or use --engine local") from error
        # Ray reports a rejected token as a failed connection.
        hint = "check --address and, if the cluster has a token, RAY_AUTH_MODE=token, or use --engine local"
        raise UserError(f"cannot reach the Ray cluster at {address} ({reason}); {hint}") from error
    try:
        yield _describe(is_shared=bool(address) and address != "local")
    finally:
        ray.shutdown()


def _start(cpus: int, options: dict[str, Any]) -> None:
    """Start a local cluster; retry if its processes miss Ray's limit of 30 seconds, as on a busy machine."""
    import ray

    for attempt in range(_START_ATTEMPTS):
        try:
            ray.init(
                address="local",
                _temp_dir=_temporary_folder(),
                num_cpus=cpus,
                include_dashboard=False,
                object_store_memory=_OBJECT_STORE_BYTES,
                **options,
            )
            return
        except Exception as error:
            ray.shutdown()
            if "timed out" not in str(error) or attempt == _START_ATTEMPTS - 1:
                raise


def _temporary_folder() -> str | None:
    """A folder for the sockets of a local cluster, whose paths have at most 107 bytes; None for Ray's own choice.

    Raises:
        UserError: there is none.
    """
    chosen = os.environ.get("RAY_TMPDIR") or tempfile.gettempdir()
    if len(os.fsencode(chosen)) <= _LONGEST_TEMPORARY:
        return None
    if os.access(_SHORT_TEMPORARY, os.W_OK):
        return f"{_SHORT_TEMPORARY}/ray"
    raise UserError(f"RAY_TMPDIR must name a folder with at most {_LONGEST_TEMPORARY} bytes in its path, got {chosen}")


@contextmanager
def _silenced_stderr() -> Iterator[None]:
    """Suppress what Ray's core prints while starting, but not what we say; failures raise anyway."""
    sys.stderr.flush()
    kept, null = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    try:
        with ExitStack() as ours:
            if _is_standard_error(sys.stderr):
                ours.enter_context(console.errors_to(ours.enter_context(open(kept, "w", closefd=False))))
            yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(null)


def _is_standard_error(stream: TextIO) -> bool:
    """Whether the stream is that of the process: a notebook has another, without a number."""
    try:
        return stream.fileno() == 2
    except (OSError, ValueError):
        return False


def _check_reachable(address: str) -> None:
    """Check that host:port accepts connections; Ray itself would take minutes to fail."""
    if address.startswith(("http://", "https://")):
        raise UserError(
            f"--address or RAY_ADDRESS must be auto or HOST:PORT of Ray's head node (port 6379 by default), got "
            f"{address}, the address of a dashboard or of submitted jobs"
        )
    match = re.fullmatch(r"(?:ray://)?(?P<host>[^:/]+|\[.+\]):(?P<port>\d+)", address)
    if match is None:
        return  # "auto" and other names that Ray resolves
    try:
        socket.create_connection((match["host"].strip("[]"), int(match["port"])), timeout=_CONNECT_SECONDS).close()
    except OSError as error:
        raise UserError(f"no Ray cluster answers at {address} ({error}); check --address and RAY_ADDRESS") from error


def _describe(is_shared: bool) -> Cluster:
    import ray

    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]
    return Cluster(
        cpus=sum(int(resources.get("CPU", 0)) for resources in nodes),
        gpus=sum(int(resources.get("GPU", 0)) for resources in nodes),
        is_shared=is_shared,
    )
