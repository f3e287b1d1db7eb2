"""Scoring on Ray, whose actors, drivers and nodes are killed."""

import os
import random
import signal
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from faults.commands import Process, descendants
from faults.inputs import Inputs
from faults.kills import WAYS_ON_RAY, Job, Local, finish, kill_local, undisturbed
from faults.outcome import Outcome

_MOST_ACTORS = 6  # killed of one job
_LAST = 0.9  # of the units: the latest moment to kill an actor or a node


def _score(inputs: Inputs, *more: str) -> Job:
    """A job that takes some seconds beside the start of Ray."""
    words = ["score", "--bundle", str(inputs.bundle), "--images", str(inputs.images(2400)), "--keep", "site"]
    words += ["--likelihood", "elbo", "--samples", "16", "--unit-rows", "20", "--explain", "4", "--gallery", "20"]
    return Job([*words, "--engine", "ray", "--workers", "2", *more], "scores", ways=WAYS_ON_RAY)


def drivers(inputs: Inputs, folder: Path, kills: int, chance: random.Random) -> Outcome:
    """The command is killed; its cluster ends by itself."""
    return kill_local(_score(inputs), folder, kills, chance)


def actors(inputs: Inputs, folder: Path, kills: int, chance: random.Random) -> Outcome:
    """Processes that score are killed while the command runs, which must not notice."""
    job = _score(inputs)
    reference = undisturbed(job, Local(folder / "undisturbed"))
    outcome = Outcome(of_which=Counter())
    while outcome.injected < kills:
        output = Local(folder / f"run-{outcome.runs}")
        outcome.runs += 1
        outcome.starts += 1
        process = job.start(output)
        killed = 0
        moments = sorted(chance.uniform(0, _LAST) for _ in range(min(_MOST_ACTORS, kills - outcome.injected)))
        while moments and process.wait(0.02) is None:
            if not output.names() or 1 - reference.left(job, output) < moments[0] or not (found := _actors(process)):
                continue
            outcome.of_which[reference.phase(job, output)] += 1
            with suppress(ProcessLookupError):
                os.kill(chance.choice(found), signal.SIGKILL)
            killed += 1
            moments.pop(0)
        outcome.injected += killed
        finish(process, output, reference.files, outcome)
    return outcome


def nodes(inputs: Inputs, folder: Path, kills: int, chance: random.Random) -> Outcome:
    """The second of two nodes dies while a job runs on both, and a new one takes its place for the next."""
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    outcome = Outcome(of_which=Counter())
    try:
        node = cluster.add_node(num_cpus=1)
        job = _score(inputs, "--address", cluster.address)
        reference = undisturbed(job, Local(folder / "undisturbed"))
        for number in range(kills):
            node = node or cluster.add_node(num_cpus=1)
            cluster.wait_for_nodes()
            output = Local(folder / f"run-{number}")
            outcome.runs += 1
            outcome.starts += 1
            process = job.start(output)
            part = chance.uniform(0, _LAST)
            while process.is_running() and job.done(output) <= part * reference.units:
                time.sleep(0.01)
            outcome.of_which[reference.phase(job, output)] += 1
            _kill_node(node)
            cluster.remove_node(node, allow_graceful=False)
            node = None
            outcome.injected += 1
            finish(process, output, reference.files, outcome)
    finally:
        cluster.shutdown()
    return outcome


def _kill_node(node: object) -> None:
    """Kill a raylet and all that it has started, as a machine would that loses power."""
    (raylet,) = node.all_processes["raylet"]  # type: ignore[attr-defined]
    for pid in (*descendants(raylet.process.pid), raylet.process.pid):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _actors(process: Process) -> Sequence[int]:
    """The processes below the command that score."""
    return [pid for pid in descendants(process.pid) if b"ray::" in _title(pid) and b"Map" in _title(pid)]


def _title(pid: int) -> bytes:
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""
