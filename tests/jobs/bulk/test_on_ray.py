"""How many actors a cluster gets, what each reserves, and how the units are handed to them; without Ray."""

import pickle
from pathlib import Path

import pytest

from bulk_toys import Squares, ranges
from export.storage import Folder
from jobs.bulk.cluster import Cluster
from jobs.bulk.on_ray import CPU_SHARE, UnitActor, calls, default_workers, gpu_share


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


@pytest.mark.parametrize("workers", [1, 4, 400, 401, 1600, 5000])
@pytest.mark.parametrize("count", [1, 7, 5000, 30_518])
def test_calls_are_the_units_in_order_and_end_with_single_ones(workers: int, count: int) -> None:
    runs = calls(ranges(count, 1), min(workers, count))
    assert [unit.number for run in runs for unit in run] == list(range(count))
    sizes = [len(run) for run in runs]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] <= max(1, -(-workers // 400))
    assert sizes[-min(workers, count) :] == [1] * min(workers, count)  # no worker ends long after the others


def test_a_call_ends_with_the_unit_that_fails_the_job(tmp_path: Path) -> None:
    actor = UnitActor(Squares(raising=frozenset(range(100))), Folder.at(tmp_path))
    (tmp_path / "plan.json").touch()
    fine = UnitActor(Squares(), Folder.at(tmp_path))({"units": [pickle.dumps(ranges(80, 40))]})
    assert fine["number"] == [0, 1]
    assert fine["results"] == [40, 40]
    failed = actor({"units": [pickle.dumps(ranges(80, 40))]})
    assert failed["number"] == [0]
    assert "row by row" in failed["failure"][0]
