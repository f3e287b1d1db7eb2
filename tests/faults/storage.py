"""A job on a storage service that fails, refuses, or sees the job killed."""

import random
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from faults.commands import Ended, Files, Hung, compare
from faults.inputs import Inputs
from faults.kills import Job, Undisturbed, kill, undisturbed
from faults.outcome import Outcome
from faults.s3_server import KINDS, S3, Request

_BUCKET = "bucket"
_SHARE = 0.12  # of the requests that fail
_WEIGHTS = {"500": 4, "503": 4, "403": 1, "cut": 4, "truncated": 4, "late": 0.5}
_MOST_FAULTS = 100  # of one output
_MOST_STARTS = 30  # of a command, until it must have ended


class OnS3(NamedTuple):
    """A folder in the bucket."""

    s3: S3
    name: str

    @property
    def address(self) -> str:
        return f"s3://{_BUCKET}/{self.name}"

    def names(self, folder: str = "") -> list[str]:
        found = self.s3.below(f"{_BUCKET}/{self.name}/{folder}".rstrip("/"))
        return sorted({name.split("/")[0] for name in found} - {""})

    def files(self) -> Files:
        """All objects but the empty ones with which Arrow marks folders; that of the attempts is to be gone."""
        found = self.s3.below(f"{_BUCKET}/{self.name}")
        return {name: found[name] for name in found if name and (not name.endswith("/") or name == "attempts/")}

    def delete(self) -> None:
        for name in self.s3.below(f"{_BUCKET}/{self.name}"):
            self.s3.objects.pop(f"{_BUCKET}/{self.name}/{name}", None)


@contextmanager
def _score(inputs: Inputs) -> Iterator[tuple[S3, Job]]:
    """A server, and a job that has bundle, images and output on it."""
    with S3() as s3:
        for path in inputs.bundle.iterdir():
            s3.put(f"{_BUCKET}/bundle/{path.name}", path.read_bytes())
        s3.put(f"{_BUCKET}/in/images.parquet", inputs.images(1200, 300).read_bytes())
        words = ["score", "--bundle", f"s3://{_BUCKET}/bundle", "--images", f"s3://{_BUCKET}/in", "--keep", "site"]
        words += ["--unit-rows", "40", "--workers", "2", "--explain", "4", "--gallery", "20"]
        yield s3, Job(words, "scores", environment=s3.environment)


def passing(inputs: Inputs, folder: Path, faults: int, chance: random.Random) -> Outcome:
    """Requests that fail at random, of reads and of writes; the command is started again until it has ended well."""
    with _score(inputs) as (s3, job):
        reference, most = undisturbed(job, OnS3(s3, "undisturbed")), 0

        def fail(request: Request) -> str | None:
            if chance.random() > _SHARE or s3.faults.injected.total() >= most:
                return None
            (kind,) = chance.choices(KINDS, [_WEIGHTS[kind] for kind in KINDS])
            # Nothing else has content that could be cut short.
            return "cut" if kind == "truncated" and request.method not in ("GET", "PUT") else kind

        outcome = Outcome()
        while (before := s3.faults.injected.total()) < faults:
            most = min(before + _MOST_FAULTS, faults)
            s3.fail = fail
            _until_done(s3, job, f"run-{outcome.runs}", reference, outcome)
        outcome.injected = s3.faults.injected.total()
        reached = s3.faults.reported
        outcome.of_which = Counter({kind: s3.faults.injected[kind] for kind in KINDS})
        outcome.of_which["of writes"] = s3.faults.writes
        outcome.of_which["not got over by the SDK"] = reached.total()
    return outcome


def _until_done(s3: S3, job: Job, name: str, reference: Undisturbed, outcome: Outcome) -> None:
    """Start the command until it has ended well, and compare."""
    output = OnS3(s3, name)
    outcome.runs += 1
    for _ in range(_MOST_STARTS):
        outcome.starts += 1
        try:
            ended = job.start(output).finish()
        except Hung as error:
            outcome.wrong.append(f"{name}: {error}")
            break
        if ended.code == 0:
            outcome.add_run(name, compare(reference.files, output.files()))
            break
        outcome.wrong += [f"{name}: {what}" for what in _no_sentence(ended)]
    else:
        outcome.wrong.append(f"{name}: not done after {_MOST_STARTS} starts")
    output.delete()


def _no_sentence(ended: Ended) -> list[str]:
    """What is wrong with the end of a command whose storage failed: exit code 1 or 2 and a sentence."""
    if ended.code not in (1, 2) or "Traceback" in ended.said or not ended.last.startswith("vae score: "):
        return [f"exit code {ended.code}: {ended.said[-2000:]}"]
    return []


def refused(inputs: Inputs, folder: Path, faults: int, chance: random.Random) -> Outcome:
    """From some write on, all are refused, until that is mended."""
    with _score(inputs) as (s3, job):
        reference = undisturbed(job, OnS3(s3, "undisturbed"))
        outcome = Outcome(of_which=Counter({"before the plan": 0, "later": 0}))
        writes = 3 * len(reference.files)
        for number in range(faults):
            output, left = OnS3(s3, f"run-{number}"), 0 if number == 0 else chance.randrange(writes)

            def fail(request: Request) -> str | None:
                nonlocal left
                left -= request.is_write
                return "403" if request.is_write and left < 0 else None

            s3.fail = fail
            outcome.starts += 1
            outcome.injected += 1
            ended = job.start(output).finish()
            has_plan = "plan.json" in output.names()
            outcome.of_which["later" if has_plan else "before the plan"] += 1
            outcome.wrong += [f"run-{number}: {what}" for what in _no_sentence(ended)]
            if has_plan and ended.code != 1:
                outcome.wrong.append(f"run-{number}: exit code {ended.code}: {ended.last}")
            s3.fail = lambda _: None
            _until_done(s3, job, f"run-{number}", reference, outcome)
    return outcome


def kills(inputs: Inputs, folder: Path, kills: int, chance: random.Random) -> Outcome:
    """The command is killed while it reads from the service and writes to it."""
    with _score(inputs) as (s3, job):
        outcome = kill(job, lambda name: OnS3(s3, name), kills, chance)
        outcome.of_which["unfinished uploads left"] = len(s3.uploads)
    return outcome
