"""The Ray cluster that a job runs on: one at an address, the one this process is already part of, or its own.

Ray is imported here only, when a job asks for it.
"""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from vae_core.errors import UserError

# Receipts are all that travels through the object store of a cluster started here; Ray would take 30% of memory.
_OBJECT_STORE_BYTES = 256 << 20


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
    """
    # Before Ray is imported. Its core prints an error line for every actor pool (ray-project/ray#53727) that only
    # matters to pools whose arguments are lost, which ours hand out again.
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    import ray

    if ray.is_initialized():
        yield _describe(is_shared=True)
        return
    address = address or os.environ.get("RAY_ADDRESS")
    quiet = {"logging_level": logging.ERROR, "log_to_driver": False}
    try:
        if address and address != "local":
            ray.init(address=address, **quiet)
        else:
            ray.init(
                address="local",
                num_cpus=max(cpus, _machine_cpus()) if cpus else None,
                include_dashboard=False,
                object_store_memory=_OBJECT_STORE_BYTES,
                **quiet,
            )
    except (ConnectionError, ValueError, RuntimeError) as error:
        where = f"the Ray cluster at {address}" if address else "a local Ray cluster"
        reason = str(error).strip().split("\n")[0]
        raise UserError(f"cannot reach {where} ({reason}); check --address, or use --engine local") from error
    try:
        yield _describe(is_shared=bool(address) and address != "local")
    finally:
        ray.shutdown()


def _machine_cpus() -> int:
    return os.cpu_count() or 1


def _describe(is_shared: bool) -> Cluster:
    import ray

    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    return Cluster(
        cpus=sum(int(resources.get("CPU", 0)) for resources in nodes),
        gpus=sum(int(resources.get("GPU", 0)) for resources in nodes),
        is_shared=is_shared,
    )
