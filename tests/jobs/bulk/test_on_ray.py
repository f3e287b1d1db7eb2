"""Distribution of units to actors, without Ray."""

import pickle
from pathlib import Path

import pytest

from bulk_toys import Squares, ranges
from export.runtime.device import Device
from export.storage import Folder
from jobs.bulk.on_ray import UnitActor, calls


@pytest.mark.parametrize("workers", [1, 4, 400, 401, 1600, 5000])
@pytest.mark.parametrize("count", [1, 7, 5000, 30_518])
def test_calls_contain_the_units_in_order_and_end_with_single_ones(workers: int, count: int) -> None:
    runs = calls(ranges(count, 1), min(workers, count))
    assert [unit.number for run in runs for unit in run] == list(range(count))
    sizes = [len(run) for run in runs]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] <= max(1, -(-workers // 400))
    assert sizes[-min(workers, count) :] == [1] * min(workers, count)  # all workers finish at about the same time


def test_a_call_ends_at_the_unit_that_fails_the_job(tmp_path: Path) -> None:
    actor = UnitActor(Squares(raising=frozenset(range(100))), Folder.at(tmp_path), Device("cpu"))
    (tmp_path / "plan.json").touch()
    fine = UnitActor(Squares(), Folder.at(tmp_path), Device("cpu"))({"units": [pickle.dumps(ranges(80, 40))]})
    assert fine["number"] == [0, 1]
    assert fine["results"] == [40, 40]
    failed = actor({"units": [pickle.dumps(ranges(80, 40))]})
    assert failed["number"] == [0]
    assert "every row of unit" in failed["failure"][0]
