"""Number and devices of the workers of a job."""

from collections import Counter
from typing import Any

import pytest

from export.runtime.device import Device, Provider
from jobs.bulk.cluster import Cluster
from jobs.bulk.options import BulkOptions, InferenceOptions
from jobs.bulk.placement import CPU_SHARE, place_here, place_on_cluster
from vae_core.errors import UserError

MANY = 10**6  # units


def cluster(cpus: int, gpus: int) -> Cluster:
    return Cluster(cpus, gpus, is_shared=True)


@pytest.mark.parametrize(
    ("cpus", "gpus", "workers"),
    [(0, 0, 1), (2, 0, 2), (64, 0, 64), (16, 1, 4), (2, 1, 2), (1, 1, 1), (8, 8, 8), (96, 8, 32)],
)
def test_default_workers_fit_the_cluster(cpus: int, gpus: int, workers: int) -> None:
    placed = place_on_cluster(InferenceOptions(), cluster(cpus, gpus), MANY)
    assert placed.workers == workers
    assert workers * CPU_SHARE <= max(1, cpus)
    assert workers * placed.gpu_share <= gpus
    assert placed.device == (Device("cuda", share=placed.gpu_share) if gpus else Device("cpu"))


@pytest.mark.parametrize("alive", [1, 2, 8])
@pytest.mark.parametrize("per_gpu", [1, 3, 4, 7])
def test_a_configured_share_does_not_depend_on_the_gpus_alive(alive: int, per_gpu: int) -> None:
    options = InferenceOptions(workers=16, workers_per_gpu=per_gpu)
    placed = place_on_cluster(options, cluster(4 * alive, alive), MANY)
    assert placed.workers == 16
    assert int(1 / placed.gpu_share + 1e-9) == per_gpu  # exactly this many fit on a GPU


def test_a_job_without_inference_reserves_no_gpu() -> None:
    assert place_on_cluster(BulkOptions(), cluster(8, 2), MANY) == (8, 0.0, Device("cpu"))
    assert place_on_cluster(InferenceOptions(provider="cpu"), cluster(8, 2), MANY) == (8, 0.0, Device("cpu"))


def test_no_more_workers_than_units() -> None:
    assert place_on_cluster(InferenceOptions(), cluster(8, 0), 3).workers == 3
    assert len(place_here(InferenceOptions(workers=8), 8, 0, 3)) == 3


@pytest.mark.parametrize("provider", ["auto", "cuda"])
def test_few_workers_have_a_gpu_each(provider: Provider) -> None:
    assert place_on_cluster(InferenceOptions(provider=provider, workers=2), cluster(64, 8), MANY).gpu_share == 1


def test_cuda_without_a_gpu_is_refused() -> None:
    options = InferenceOptions(provider="cuda")
    with pytest.raises(UserError, match="--provider cuda needs a GPU, but the cluster has none"):
        place_on_cluster(options, cluster(8, 0), MANY)
    with pytest.raises(UserError, match="--provider cuda needs a GPU, but this machine has none"):
        place_here(options, 8, 0, MANY)


@pytest.mark.parametrize(
    ("options", "cores", "workers", "threads"),
    [({}, 8, 8, 1), ({"workers": 3}, 8, 3, 2), ({"workers": 16}, 8, 16, 1), ({"provider": "cpu"}, 8, 8, 1)],
)
def test_workers_share_the_cores_of_a_machine(options: Any, cores: int, workers: int, threads: int) -> None:
    gpus = 2 if "provider" in options else 0
    assert place_here(InferenceOptions(**options), cores, gpus, MANY) == [Device("cpu", threads)] * workers
    assert place_here(BulkOptions(), cores, 2, MANY) == [Device("cpu")] * cores


@pytest.mark.parametrize(
    ("options", "cores", "gpus", "per_gpu"),
    [({}, 32, 2, 4), ({}, 4, 4, 1), ({"workers_per_gpu": 3}, 2, 2, 3), ({"workers": 5}, 8, 2, 3), ({}, 1, 1, 1)],
)
def test_workers_share_the_gpus_of_a_machine(options: Any, cores: int, gpus: int, per_gpu: int) -> None:
    devices = place_here(InferenceOptions(**options), cores, gpus, MANY)
    assert len(devices) == options.get("workers", per_gpu * gpus)
    on_each = Counter(device.index for device in devices)
    assert set(on_each) == set(range(gpus))
    assert max(on_each.values()) == per_gpu
    assert {device.share for device in devices} == {1 / per_gpu}  # of its memory, so that all fit
    assert {device.provider for device in devices} == {"auto"}


def test_too_many_workers_for_the_gpus_are_refused() -> None:
    with pytest.raises(UserError, match="--workers must be at most 4, 2 for each of 2 GPUs, got 5"):
        place_here(InferenceOptions(workers=5, workers_per_gpu=2), 8, 2, MANY)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"workers": 0}, "--workers must be at least 1, got 0"),
        ({"workers_per_gpu": 0}, "--workers-per-gpu must be at least 1, got 0"),
        ({"workers_per_gpu": 2, "provider": "cpu"}, "--workers-per-gpu requires --provider cuda or auto"),
    ],
)
def test_invalid_options_are_refused(options: Any, words: str) -> None:
    with pytest.raises(UserError, match=words):
        InferenceOptions(**options)
