"""Bulk jobs on real Ray clusters: the same results as on the local engine, and cluster failures."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from bulk_toys import LOCAL, Squares, outcome, ranges
from export.storage import Folder
from jobs.bulk import BulkOptions, run
from jobs.bulk.cluster import connect
from vae_core.errors import UserError

pytestmark = pytest.mark.ray


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.usefixtures("ray_cluster")
def test_both_engines_write_the_same_files(tmp_path: Path, workers: int) -> None:
    task = Squares(bad=frozenset({3, 40}), raising=frozenset({17}))
    totals = run(task, ranges(50, 7), Folder.at(tmp_path / "ray"), BulkOptions(engine="ray", workers=workers))
    run(task, ranges(50, 7), Folder.at(tmp_path / "local"), LOCAL)
    assert (totals.engine, totals.workers, totals.rows, totals.errors) == ("ray", workers, 50, 3)
    written = {
        engine: {
            path.relative_to(tmp_path / engine): path.read_bytes()
            for path in (tmp_path / engine).rglob("*")
            if path.is_file()
        }
        for engine in ("ray", "local")
    }
    assert written["ray"] == written["local"]
    assert len(outcome(Folder.at(tmp_path / "ray"))[0]) == 47


@pytest.mark.usefixtures("ray_cluster")
def test_no_actor_imports_torch(tmp_path: Path) -> None:
    pytest.importorskip("torch")  # nothing to test if not installed
    log = tmp_path / "log"
    log.mkdir()
    run(Squares(log=str(log)), ranges(20, 5), Folder.at(tmp_path / "out"), BulkOptions(engine="ray", workers=2))
    assert {path.read_text() for path in log.iterdir()} == {"1 -"}
    assert str(os.getpid()) not in {path.name.split("-")[-1] for path in log.iterdir()}


@pytest.mark.usefixtures("ray_cluster")
def test_a_row_that_kills_its_actor_becomes_an_error(tmp_path: Path) -> None:
    output = Folder.at(tmp_path / "out")
    totals = run(Squares(killing=frozenset({17})), ranges(40, 20), output, BulkOptions(engine="ray", workers=2))
    results, errors = outcome(output)
    assert results == [row for row in range(40) if row != 17]
    assert errors == {17: "ProcessDied: processing it killed the process (SIGKILL)"}
    assert totals.errors == 1


@pytest.mark.usefixtures("ray_cluster")
def test_an_existing_connection_is_used_and_kept(tmp_path: Path) -> None:
    import ray

    assert run(Squares(), ranges(20, 10), Folder.at(tmp_path), BulkOptions(engine="auto")).engine == "ray"
    assert ray.is_initialized()


def test_a_cluster_of_two_cpus_is_started_and_stopped(tmp_path: Path) -> None:
    # In a separate process: this one may be connected to the session's cluster.
    program = """
import os, sys
os.sched_getaffinity = lambda _: {0, 1}
from bulk_toys import Squares, ranges
from export.storage import Folder
from jobs.bulk import BulkOptions, run
totals = run(Squares(), ranges(50, 5), Folder.at(sys.argv[1]), BulkOptions(engine="ray", workers=2))
import ray
assert not ray.is_initialized()
assert "torch" not in sys.modules
print(totals.engine, totals.workers, totals.rows)
"""
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "out")], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["ray", "2", "50"]
    # Only our own lines: no banner, bar or warning of Ray.
    assert [line for line in done.stderr.splitlines() if not line.startswith(("squares: ", "Ray: starting"))] == []
    assert outcome(Folder.at(tmp_path / "out")) == (list(range(50)), {})


def test_an_unreachable_address_is_a_user_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no Ray cluster answers at 127\.0\.0\.1:1 "), connect("127.0.0.1:1"):
        pass
    with pytest.raises(UserError, match="no Ray cluster answers"):
        run(Squares(), ranges(50, 5), Folder.at(tmp_path / "out"), BulkOptions(address="127.0.0.1:1"))
    assert not (tmp_path / "out").exists()
