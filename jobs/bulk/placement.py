"""Where the workers of a job go: how many there are, and what each of them computes with."""

import math
from typing import NamedTuple

from export.runtime.device import Device, Provider
from jobs.bulk.cluster import Cluster
from jobs.bulk.options import BulkOptions, InferenceOptions
from vae_core.errors import UserError

# A little less than a CPU for an actor: as many actors as CPUs leave room for what Ray runs beside them, so a
# cluster of two CPUs does not wait for itself.
CPU_SHARE = 0.9
# While one decodes its images on a CPU, another has the GPU. Each keeps a CUDA context of its own there.
_MOST_PER_GPU = 4


class Placement(NamedTuple):
    """The workers of a job on a cluster, all alike. Each reserves `CPU_SHARE` of a CPU."""

    workers: int
    gpu_share: float  # that each reserves; 0 where they compute on CPUs
    device: Device


def place_on_cluster(options: BulkOptions, cluster: Cluster, units: int) -> Placement:
    """The actors of a job of some units. They need not all fit the nodes there are: an autoscaler may bring more.

    Raises:
        UserError: the job needs a GPU, and there is none.
    """
    if not _uses_gpus(options, cluster.gpus, "the cluster"):
        workers = options.workers or max(1, cluster.cpus)  # one if an autoscaler has yet to bring a node
        return Placement(min(workers, units), 0.0, Device("cpu"))
    each = _per_gpu(options, cluster.cpus, cluster.gpus)
    workers = options.workers or each * cluster.gpus
    # A worker that has reserved a GPU uses it, or fails the job.
    return Placement(min(workers, units), 1 / each, Device("cuda", share=1 / each))


def place_here(options: BulkOptions, cores: int, gpus: int, units: int) -> list[Device]:
    """A device for each worker of a job of some units on this machine, which share its cores and its GPUs evenly.

    Raises:
        UserError: the job needs a GPU, and there is none; or more workers are wanted than may share the GPUs.
    """
    if not _uses_gpus(options, gpus, "this machine"):
        workers = min(options.workers or cores, units)
        return [Device("cpu", threads=max(1, cores // workers))] * workers
    each = _per_gpu(options, cores, gpus)
    wanted = options.workers or each * gpus
    if _stated_per_gpu(options) is None:
        each = math.ceil(wanted / gpus)
    elif wanted > each * gpus:
        raise UserError(
            f"--workers must be at most {each * gpus}, {each} for each of {gpus} GPUs, got {wanted}; "
            "raise --workers-per-gpu or use --provider cpu"
        )
    workers = min(wanted, units)
    threads = max(1, cores // workers)
    return [Device(_provider(options), threads, index % gpus, 1 / each) for index in range(workers)]


def _provider(options: BulkOptions) -> Provider:
    return options.provider if isinstance(options, InferenceOptions) else "cpu"


def _stated_per_gpu(options: BulkOptions) -> int | None:
    return options.workers_per_gpu if isinstance(options, InferenceOptions) else None


def _uses_gpus(options: BulkOptions, gpus: int, where: str) -> bool:
    provider = _provider(options)
    if provider == "cuda" and not gpus:
        raise UserError(f"--provider cuda needs a GPU, and {where} has none; use --provider cpu")
    return provider != "cpu" and gpus > 0


def _per_gpu(options: BulkOptions, cpus: int, gpus: int) -> int:
    """How many workers share a GPU: as stated, else some, but no more than it takes for all to have one."""
    if (stated := _stated_per_gpu(options)) is not None:
        return stated
    some = max(1, min(_MOST_PER_GPU, cpus // gpus))
    return min(some, math.ceil(options.workers / gpus)) if options.workers else some
