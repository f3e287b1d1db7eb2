"""How many actors a cluster gets, and what each reserves."""

import pytest

from jobs.bulk.cluster import Cluster
from jobs.bulk.on_ray import CPU_SHARE, default_workers, gpu_share


@pytest.mark.parametrize(
    ("cpus", "gpus", "workers"),
    [(0, 0, 1), (2, 0, 2), (64, 0, 64), (16, 1, 4), (2, 1, 2), (1, 1, 1), (8, 8, 8), (96, 8, 32)],
)
def test_default_workers_fit_the_cluster(cpus: int, gpus: int, workers: int) -> None:
    cluster = Cluster(cpus, gpus, is_shared=True)
    assert default_workers(cluster) == workers
    if cpus:
        assert workers * CPU_SHARE <= cpus
    assert workers * gpu_share(workers, cluster) <= gpus


@pytest.mark.parametrize("workers", range(1, 20))
def test_any_number_of_workers_finds_a_place_on_the_gpus(workers: int) -> None:
    share = gpu_share(workers, Cluster(64, 3, is_shared=True))
    assert workers <= 3 * int(1 / share + 1e-9)
    assert (share == 1) == (workers <= 3)
