"""Placement of a job's workers: their number and devices."""

import math
from typing import NamedTuple

from export.runtime.device import Device, Provider
from jobs.bulk.cluster import Cluster
from jobs.bulk.options import BulkOptions, InferenceOptions
from vae_core.errors import UserError

# Actors reserve slightly less than a CPU, so that one actor per CPU leaves room for Ray's own tasks; otherwise a
# cluster of two CPUs would deadlock.
CPU_SHARE = 0.9
# While one worker decodes images on a CPU, another uses the GPU. Each costs a CUDA context.
MAX_WORKERS_PER_GPU = 4


class Placement(NamedTuple):
    """The identical workers of a job on a cluster. Each reserves `CPU_SHARE` of a CPU."""

    workers: int
    gpu_share: float  # that each reserves; 0 on CPUs
    device: Device


def place_on_cluster(options: BulkOptions, cluster: Cluster, units: int) -> Placement:
    """Place the actors of a job with `units` units. They may exceed the current nodes: an autoscaler may add more.

    Raises:
        UserError: the job needs a GPU, but there is none.
    """
    if not _uses_gpus(options, cluster.gpus, "the cluster"):
        workers = options.workers or max(1, cluster.cpus)  # one if an autoscaler has added no node yet
        return Placement(min(workers, units), 0.0, Device("cpu"))
    each = _per_gpu(options, cluster.cpus, cluster.gpus)
    workers = options.workers or each * cluster.gpus
    # A worker that reserved a GPU must use it, or the job fails.
    return Placement(min(workers, units), 1 / each, Device("cuda", share=1 / each))


def place_here(options: BulkOptions, cores: int, gpus: int, units: int) -> list[Device]:
    """One device per worker of a job with `units` units on this machine; cores and GPUs are shared evenly.

    Raises:
        UserError: the job needs a GPU, but there is none; or there are more workers than may share the GPUs.
    """
    if not _uses_gpus(options, gpus, "this machine"):
        workers = min(options.workers or cores, units)
        return [Device("cpu", threads=max(1, cores // workers))] * workers
    each = _per_gpu(options, cores, gpus)
    wanted = options.workers or each * gpus
    if _configured_per_gpu(options) is None:
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


def _configured_per_gpu(options: BulkOptions) -> int | None:
    return options.workers_per_gpu if isinstance(options, InferenceOptions) else None


def _uses_gpus(options: BulkOptions, gpus: int, where: str) -> bool:
    provider = _provider(options)
    if provider == "cuda" and not gpus:
        raise UserError(f"--provider cuda needs a GPU, but {where} has none; use --provider cpu")
    return provider != "cpu" and gpus > 0


def _per_gpu(options: BulkOptions, cpus: int, gpus: int) -> int:
    """Workers per GPU: as configured, else a default that is no more than `--workers` need."""
    if (configured := _configured_per_gpu(options)) is not None:
        return configured
    default = max(1, min(MAX_WORKERS_PER_GPU, cpus // gpus))
    return min(default, math.ceil(options.workers / gpus)) if options.workers else default
