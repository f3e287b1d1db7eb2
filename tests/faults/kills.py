"""Kill a command again and again at random moments, until it is done; what it then leaves must be as if undisturbed.

Signals go to the command as the world sends them: SIGKILL to the whole group of processes (a machine that stops),
SIGKILL to the process that works (the kernel, short of memory), SIGTERM and SIGINT to the command (a scheduler, a
person).
"""

import os
import random
import shutil
import signal
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple, Protocol

from faults.commands import INTERRUPTED, Ended, Files, Hung, Process, children, compare, files
from faults.outcome import Outcome

MOST_KILLS = 5  # of one output, before the command may end
ANYWHERE = 0.25  # the share of the kills that may fall in the start, which takes most of the time of a small job
Phase = Literal["start", "first third", "second third", "last third", "finish", "end"]
PHASES: tuple[Phase, ...] = ("start", "first third", "second third", "last third", "finish", "end")
"""With an empty output; with some of the units done; with all of them; with the file that comes last."""
WAYS = ("group",) * 7 + ("worker", "SIGTERM", "SIGINT")
WAYS_ON_RAY = ("group",) * 8 + ("SIGTERM", "SIGINT")  # without: Ray ends a command whose raylet is killed


class Output(Protocol):
    """Where a command writes: a folder of this machine, or of a storage service."""

    @property
    def address(self) -> str: ...

    def names(self, folder: str = "") -> list[str]:
        """The names directly below a folder of it, without hidden ones; empty if it is not there."""
        ...

    def files(self) -> Files:
        """Everything in it."""
        ...

    def delete(self) -> None:
        """Delete everything in it."""
        ...


@dataclass(frozen=True)
class Local:
    """A folder of this machine."""

    path: Path

    @property
    def address(self) -> str:
        return str(self.path)

    def names(self, folder: str = "") -> list[str]:
        with suppress(FileNotFoundError):
            return [name for name in os.listdir(self.path / folder) if not name.startswith(".")]  # noqa: PTH208
        return []

    def files(self) -> Files:
        return files(self.path)

    def delete(self) -> None:
        shutil.rmtree(self.path, ignore_errors=True)


class Job(NamedTuple):
    """A command whose output is compared."""

    words: Sequence[str]  # without its output
    results: str = ""  # the folder of its parts, if it has any
    last: str = "summary.json"  # the file that comes last
    environment: Mapping[str, str] = {}
    ways: Sequence[str] = WAYS
    writes_once: bool = False  # it refuses an output that is complete
    option: str = "--output"  # that names it

    def start(self, output: Output) -> Process:
        return Process([*self.words, self.option, output.address], self.environment)

    def done(self, output: Output) -> int:
        """How many units are done."""
        return sum(name.startswith("part-") for name in output.names(self.results)) if self.results else 0


class Undisturbed(NamedTuple):
    """A run that nobody kills."""

    files: Files
    units: int
    seconds: float  # from its start to its end
    starting: float  # from its start to its first file

    def left(self, job: Job, output: Output) -> float:
        """The share of the units that are not done."""
        return 1 - job.done(output) / self.units if self.units else 1.0

    def phase(self, job: Job, output: Output) -> Phase:
        """Where a job is that writes to `output`."""
        names = output.names()
        if not names:
            return "start"
        if job.last in names:
            return "end"
        left = self.left(job, output) if self.units else 0
        return PHASES[1 + int(3 * (1 - left))] if left else "finish"


def undisturbed(job: Job, output: Output) -> Undisturbed:
    """Run a job to its end."""
    began = time.monotonic()
    process = job.start(output)
    starting = 0.0
    while (ended := process.wait(0.005)) is None:
        if not starting and output.names():
            starting = time.monotonic() - began
    assert ended.code == 0, ended.said
    return Undisturbed(output.files(), job.done(output), time.monotonic() - began, starting)


def kill_local(job: Job, folder: Path, kills: int, chance: random.Random) -> Outcome:
    """`kill` for outputs in a folder of this machine."""
    return kill(job, lambda name: Local(folder / name), kills, chance)


def kill(job: Job, place: Callable[[str], Output], kills: int, chance: random.Random) -> Outcome:
    """Kill a job `kills` times, over as many outputs as that takes.

    Args:
        job: to kill.
        place: makes a new output from its name.
        kills: how often.
        chance: of the moments and the signals.
    """
    reference = undisturbed(job, place("undisturbed"))
    outcome = Outcome(of_which=Counter(dict.fromkeys(PHASES, 0)))
    while outcome.injected < kills and outcome.runs < 10 * kills:  # some end before they can be killed
        name = f"run-{outcome.runs}"
        output = place(name)
        outcome.runs += 1
        try:
            _until_done(job, output, name, min(MOST_KILLS, kills - outcome.injected), reference, chance, outcome)
        except Hung as error:
            outcome.wrong.append(f"{name}: {error}")
        else:
            outcome.add_run(name, compare(reference.files, output.files()))
        output.delete()
    return outcome


def _until_done(
    job: Job,
    output: Output,
    name: str,
    kills: int,
    reference: Undisturbed,
    chance: random.Random,
    outcome: Outcome,
) -> None:
    """Run a job until it is done, and kill it at most `kills` times."""
    while not (job.writes_once and job.last in output.names()):
        process = job.start(output)
        outcome.starts += 1
        ended = _wait(process, job, output, reference, chance) if kills else process.finish()
        if ended is None:
            phase, way = reference.phase(job, output), chance.choice(job.ways)
            ended = _kill(process, way)
            kills -= 1
            outcome.injected += 1
            outcome.of_which[phase] += 1
            outcome.wrong += [f"{name}: {what}" for what in problems(ended, way)]
        else:
            outcome.wrong += [f"{name}: {what}" for what in problems(ended, "")]
            return
        if ended.code == 0:  # it had already done everything, or was started again by its parent
            return


def _wait(process: Process, job: Job, output: Output, reference: Undisturbed, chance: random.Random) -> Ended | None:
    """Wait for the moment to kill a process; how it ended, if it did before."""
    working = (reference.seconds - reference.starting) * reference.left(job, output)
    if chance.random() < ANYWHERE:
        return process.wait(chance.uniform(0, reference.starting + working))
    if output.names():  # it resumes
        return process.wait(reference.starting + chance.uniform(0, working))
    while not output.names():
        if (ended := process.wait(0.005)) is not None:
            return ended
    return process.wait(chance.uniform(0, working))


def _kill(process: Process, way: str) -> Ended:
    """End a process in some way; it may have ended by itself meanwhile."""
    match way:
        case "group":
            process.kill()
        case "worker":
            for pid in children(process.pid) or [process.pid]:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        case _:
            process.send(signal.Signals[way])
    try:
        return process.finish()
    except Hung as error:
        raise Hung(f"after {way} it {error}") from error


def finish(process: Process, output: Local, reference: Files, outcome: Outcome) -> None:
    """Wait for the end of a command that nobody killed, compare its output, and delete it."""
    name = output.path.name
    try:
        ended = process.finish()
    except Hung as error:
        outcome.wrong.append(f"{name}: {error}")
    else:
        outcome.wrong += [f"{name}: {what}" for what in problems(ended, "")]
        outcome.add_run(name, compare(reference, output.files()))
    output.delete()


def problems(ended: Ended, way: str) -> list[str]:
    """What is wrong with the way in which a process ended."""
    if way == "SIGINT" and "<frozen site>" in ended.said:
        return []  # while Python itself starts, which prints a traceback
    allowed = {
        "": (0,),
        "group": (-signal.SIGKILL,),
        "worker": (-signal.SIGKILL, 0),  # 0: its parent has started it again
        "SIGTERM": (143, -signal.SIGTERM, 0),  # the second while Python starts; 0: it was about to end
        "SIGINT": (130, -signal.SIGINT, 0),
    }[way]
    said = [] if ended.code in allowed else [f"exit code {ended.code} after {way or 'no signal'}: {ended.last}"]
    if "Traceback" in ended.said or "terminate called" in ended.said:
        said.append(f"after {way or 'no signal'} it printed: {ended.said[-1500:]}")
    if ended.code in (130, 143) and ended.said.strip() and not ended.last.endswith(INTERRUPTED):
        said.append(f"after {way} its last line is: {ended.last}")
    return said
