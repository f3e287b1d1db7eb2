"""A cluster of two nodes, the second of which does not see the output on the disk of the first, and then dies.

The second node is a second Ray process on this machine, in a mount namespace with an empty disk over one folder.
"""

import subprocess
import sys
from pathlib import Path

import pytest

from bulk_toys import outcome
from export.storage import Folder

pytestmark = pytest.mark.ray

PROGRAM = """
import glob, os, signal, subprocess, sys, threading, time
import ray
from ray.cluster_utils import Cluster
from bulk_toys import Squares, ranges
from export.storage import Folder
from jobs.bulk import BulkOptions, run
from vae_core.errors import UserError

ON_RAY = BulkOptions(engine="ray")
private, shared = sys.argv[1:]
head = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
ray_program = os.path.join(os.path.dirname(sys.executable), "ray")
node = subprocess.Popen(
    ["unshare", "-m", "sh", "-c", 'mount -t tmpfs none "$0" && exec "$@"', private]
    + [ray_program, "start", "--block", "--num-cpus=1", "--address=" + head.address],
    stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
)
try:
    ray.init(address=head.address, logging_level="ERROR", log_to_driver=False)
    patience = time.monotonic() + 60
    while ray.cluster_resources().get("CPU", 0) < 2:
        assert node.poll() is None and time.monotonic() < patience, "the second node does not come"
        time.sleep(0.1)
    for output, reads in [(private + "/out", []), (shared + "/out", [private + "/input"])]:
        try:
            run(Squares(), ranges(20, 5), Folder.at(output), ON_RAY, reads=reads)
        except UserError as error:
            print(error)
    totals = run(Squares(), ranges(20, 5), Folder.at(shared + "/out"), ON_RAY, reads=[shared + "/input"])
    print(totals.workers)

    # The second node dies during a job.
    def kill_the_node():
        while len(glob.glob(shared + "/after/squares/part-*")) < 4:
            time.sleep(0.01)
        os.killpg(node.pid, signal.SIGKILL)

    threading.Thread(target=kill_the_node, daemon=True).start()
    run(Squares(seconds=0.2), ranges(200, 5), Folder.at(shared + "/after"), ON_RAY)
    node.wait()
    print(node.returncode)
finally:
    ray.shutdown()
    if node.poll() is None:
        os.killpg(node.pid, signal.SIGTERM)
        node.wait()
    head.shutdown()
"""


def may_unshare() -> bool:
    try:
        return subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False).returncode == 0
    except OSError:
        return False


@pytest.mark.skipif(not may_unshare(), reason="mount namespaces are not permitted here")
def test_unshared_storage_is_refused_and_a_lost_node_loses_no_row(tmp_path: Path) -> None:
    private, shared = tmp_path / "private", tmp_path / "shared"
    for folder in (private, shared):
        folder.mkdir()
        (folder / "input").write_text("12345")
    command = [sys.executable, "-c", PROGRAM, str(private), str(shared)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    refusals = done.stdout.splitlines()
    assert f"cannot see {private}/out;" in refusals[0]
    assert f"cannot see {private}/input;" in refusals[1]
    assert refusals[2] == "2"
    # Refused, and unchanged.
    assert [path.name for path in private.iterdir()] == ["input"]
    assert outcome(Folder.at(shared / "out")) == (list(range(20)), {})
    # A dead node loses no row.
    assert "-9" in refusals  # among messages of Ray about the lost node
    assert outcome(Folder.at(shared / "after")) == (list(range(200)), {})
