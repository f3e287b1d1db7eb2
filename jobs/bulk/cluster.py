"""The Ray cluster that a job runs on: one at an address, the one this process is already part of, or its own.

Ray is imported here only, when a job asks for it.
"""

import logging
import os
import re
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from jobs.bulk.machine import cores
from vae_core.errors import JobFailed, UserError

# Receipts are all that travels through the object store of a cluster started here; Ray would take 30% of memory.
_OBJECT_STORE_BYTES = 256 << 20
_KNOCK_SECONDS = 10.0
_STARTS = 3


class Cluster(NamedTuple):
    """What a connected cluster offers."""

    cpus: int  # of whole CPUs per node, summed
    gpus: int
    is_shared: bool  # whether others may run on it, or it was there before us


@contextmanager
def connect(address: str | None, cpus: int | None = None) -> Iterator[Cluster]:
    """Connect to the cluster at `address` (or RAY_ADDRESS), else start one here for as long as the block runs.

    Args:
        address: as for `ray.init`; None for none.
        cpus: the least number of CPUs that a cluster started here claims, also if the machine has fewer.

    Raises:
        UserError: no cluster answers at the address.
        JobFailed: no cluster can be started here.
    """
    address = address or os.environ.get("RAY_ADDRESS")
    if address:
        _knock(address)
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # Ray's core prints an error for every actor pool (ray-project/ray#53727): a restart may fail where the pool's
    # arguments were lost. Ray Data replaces such an actor by itself.
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    import ray

    if ray.is_initialized():
        yield _describe(is_shared=True)
        return
    quiet: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
    try:
        with _hushed():
            if address and address != "local":
                ray.init(address=address, **quiet)
            else:
                _start(max(cpus or 1, cores()), quiet)
    except Exception as error:  # of many kinds, some of them plain `Exception`
        ray.shutdown()
        reason = str(error).strip().split("\n")[0]
        if not address or address == "local":
            raise JobFailed(f"no local Ray cluster starts ({reason}); try again, or use --engine local") from error
        # Ray calls a refused token a failed connection.
        hint = "check --address and, if the cluster has a token, RAY_AUTH_MODE=token, or use --engine local"
        raise UserError(f"cannot reach the Ray cluster at {address} ({reason}); {hint}") from error
    try:
        yield _describe(is_shared=bool(address) and address != "local")
    finally:
        ray.shutdown()


def _start(cpus: int, options: dict[str, Any]) -> None:
    """Start a local cluster. Ray gives its processes 30 seconds, which on a busy machine may not do: it gets more."""
    import ray

    for attempt in range(_STARTS):
        try:
            ray.init(
                address="local",
                num_cpus=cpus,
                include_dashboard=False,
                object_store_memory=_OBJECT_STORE_BYTES,
                **options,
            )
            return
        except Exception as error:
            ray.shutdown()
            if "timed out" not in str(error) or attempt == _STARTS - 1:
                raise


@contextmanager
def _hushed() -> Iterator[None]:
    """Keep what Ray's core prints while it starts from the terminal; what fails is raised all the same."""
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def _knock(address: str) -> None:
    """See that somebody listens at host:port, which takes Ray itself minutes to find out."""
    match = re.fullmatch(r"(?:ray://)?(?P<host>[^:/]+|\[.+\]):(?P<port>\d+)", address)
    if match is None:
        return  # "auto" and the like: names that Ray resolves
    try:
        socket.create_connection((match["host"].strip("[]"), int(match["port"])), timeout=_KNOCK_SECONDS).close()
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
