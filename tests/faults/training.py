"""Training on Ray that is killed: the command, one of its workers, and the disk under its checkpoints."""

import json
import os
import random
import signal
from collections import Counter
from contextlib import suppress
from pathlib import Path

from faults.commands import Files, Process, compare, descendants, files
from faults.inputs import Inputs
from faults.kills import WAYS_ON_RAY, Job, Local, Undisturbed, finish, kill, problems, undisturbed
from faults.outcome import Outcome
from small_disks import fill, mounted

_EPOCHS = 4
_OF_THE_RUN = {"seconds", "images_per_second"}  # in metrics
_MODEL = ["--family", "conv", "--latent-dim", "3", "--widths", "4", "8", "--hidden", "8", "--importance-samples", "4"]
_SCHEDULE = f"--epochs {_EPOCHS} --batch-size 32 --warmup-steps 5 --checkpoint-minutes 0.003 --device cpu".split()


class Run(Local):
    """A run directory: its progress is that of its epochs."""

    def names(self, folder: str = "") -> list[str]:
        if folder:  # of finished epochs
            with suppress(OSError):
                return [f"part-{line}" for line in (self.path / "metrics.jsonl").read_text().splitlines()]
            return []
        return super().names()

    def files(self) -> Files:
        """What must not depend on kills: all but logs for TensorBoard, without durations."""
        found = {name: content for name, content in files(self.path).items() if not name.startswith("tensorboard/")}
        for name, content in found.items():
            if name == "metrics.jsonl":
                found[name] = "\n".join(
                    json.dumps(_lasting(json.loads(line))) for line in content.splitlines()
                ).encode()
            elif name.endswith("checkpoint.json"):
                found[name] = json.dumps(_lasting(json.loads(content))).encode()
        return found


def _lasting(value: object) -> object:
    """JSON without the durations."""
    if isinstance(value, dict):
        return {name: _lasting(entry) for name, entry in value.items() if name not in _OF_THE_RUN}
    return [_lasting(entry) for entry in value] if isinstance(value, list) else value


def _train(inputs: Inputs, workers: int) -> Job:
    words = ["train", "--images", str(inputs.training_images), "--workers", str(workers), *_MODEL, *_SCHEDULE]
    return Job(words, "epochs", last="", ways=WAYS_ON_RAY, option="--run")


def drivers(inputs: Inputs, folder: Path, kills: int, chance: random.Random) -> Outcome:
    """The command is killed, or asked to end, and started again; half of the times with two workers."""
    outcomes = [
        kill(_train(inputs, workers), lambda name: Run(folder / f"{workers}-{name}"), count, chance)  # noqa: B023
        for workers, count in ((1, kills - kills // 2), (2, kills // 2))
        if count
    ]
    return sum(outcomes[1:], outcomes[0])


def workers(inputs: Inputs, folder: Path, kills: int, chance: random.Random) -> Outcome:
    """One of two workers is killed; Ray starts both again from the last checkpoint, and the command goes on."""
    job = _train(inputs, 2)
    reference = undisturbed(job, Run(folder / "undisturbed"))
    outcome = Outcome(of_which=Counter())
    while outcome.injected < kills:
        output = Run(folder / f"run-{outcome.runs}")
        outcome.runs += 1
        outcome.starts += 1
        process, killed = job.start(output), 0
        for _ in range(min(2, kills - outcome.injected)):  # Ray gives up after three failures
            killed += _kill_worker(process, job, output, reference, chance, outcome)
        outcome.injected += killed
        finish(process, output, reference.files, outcome)
    return outcome


def _kill_worker(
    process: Process, job: Job, output: Run, reference: Undisturbed, chance: random.Random, outcome: Outcome
) -> int:
    """Kill a worker some time after both are there; 0 if the command ended before."""
    while len(found := _workers(process)) < 2:
        if process.wait(0.05) is not None:
            return 0
    if process.wait(chance.uniform(0, 0.7 * (reference.seconds - reference.starting))) is not None:
        return 0
    found = _workers(process) or found
    outcome.of_which[reference.phase(job, output)] += 1
    with suppress(ProcessLookupError):
        os.kill(chance.choice(found), signal.SIGKILL)
    while any(pid in found for pid in _workers(process)):
        if process.wait(0.05) is not None:
            return 1
    return 1


def _workers(process: Process) -> list[int]:
    found = []
    for pid in descendants(process.pid):
        with suppress(OSError):
            title = Path(f"/proc/{pid}/cmdline").read_bytes()
            if title.startswith(b"ray::") and b"TrainWorker" in title:
                found.append(pid)
    return found


def full_disk(inputs: Inputs, folder: Path, faults: int, chance: random.Random) -> Outcome:
    """The disk of the run is full from some epoch on, until there is room again."""
    outcome = Outcome(of_which=Counter())
    job = _train(inputs, 1)
    reference = undisturbed(job, Run(folder / "undisturbed"))
    for number in range(faults):
        place = folder / f"disk-{number}"
        place.mkdir()
        with mounted(place, options="size=2m") as disk:
            output = Run(disk / "run")
            process = job.start(output)
            part = chance.randrange(_EPOCHS - 1)
            while process.is_running() and job.done(output) < part:
                process.wait(0.01)
            fill(disk / "filler")
            outcome.starts, outcome.injected, outcome.runs = outcome.starts + 2, outcome.injected + 1, outcome.runs + 1
            ended = process.finish()
            if ended.code != 1 or "Traceback" in ended.said or "No space left" not in ended.last:
                outcome.wrong.append(f"disk-{number}: exit code {ended.code}: {ended.said[-2000:]}")
            (disk / "filler").unlink()
            ended = job.start(output).finish()
            outcome.wrong += [f"disk-{number}: {what}" for what in problems(ended, "")]
            outcome.add_run(f"disk-{number}", compare(reference.files, output.files()))
    return outcome
