"""The plan of a job, written to its output first, and the check that an output folder belongs to the job.

`plan.json` records what the job is (its kind and identity) and what each numbered unit covers. Plans are deterministic,
so a rerun finds its own plan, and a different command is refused.
"""

import hashlib
import json
import re
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

from export.storage import Folder
from jobs.bulk.contract import Unit
from vae_core.errors import OutputError, parsing

PLAN = "plan.json"
SUMMARY = "summary.json"
MODEL = "model"
"""A subfolder that an output may have before its plan: that of the model, with `vae find --clean`."""
FORMAT = 1


class Plan(NamedTuple):
    """The kind, identity and units of a job."""

    kind: str
    identity: dict[str, Any]  # as decoded from JSON
    units: list[dict[str, Any]]  # `Unit.to_json` of each
    rows: int

    @property
    def units_hash(self) -> str:
        """SHA-256 of the units; changes with the input."""
        return hashlib.sha256(_lines(self.units).encode()).hexdigest()

    def to_json(self) -> str:
        """JSON text: a readable header, then one line per unit."""
        header = {
            "format": FORMAT,
            "kind": self.kind,
            "identity": self.identity,
            "rows": self.rows,
            "units_sha256": self.units_hash,
        }
        return json.dumps(header, indent=2)[:-2] + f',\n  "units": [\n{_lines(self.units)}\n  ]\n}}\n'


_HEADER = re.compile(rb"\{\s*\"format\": \d+,\s*\"kind\": \"([a-z]+)\",\s*\"identity\": \{")


def kind_of_plan(start: bytes) -> str | None:
    """The kind of the job whose plan begins so; None for another file of that name."""
    found = _HEADER.match(start)
    return None if found is None else found[1].decode()


def _lines(units: Sequence[dict[str, Any]]) -> str:
    return ",\n".join(json.dumps(unit) for unit in units)


def make_plan(kind: str, identity: dict[str, Any], units: Sequence[Unit]) -> Plan:
    """The plan of a job over `units`."""
    return Plan(
        kind=kind,
        identity=json.loads(json.dumps(identity)),  # normalise for comparison: tuples become lists
        units=[unit.to_json() for unit in units],
        rows=sum(unit.rows for unit in units),
    )


def check_output(output: Folder, plan: Plan) -> bool:
    """Whether `output` already has this plan; False if it is empty, and can be written to. Leaves nothing there.

    Raises:
        OutputError: the output belongs to another job, or has other files.
        StorageFailed: it is empty and nothing can be written to it.
    """
    output.refuse_file("--output")
    found = [*output.names(), *(f"{name}/" for name in output.subfolders() if name != MODEL)]
    if not found:
        output.require_writable()
        return False
    if not output.has(PLAN):  # looked for last: another copy of the command writes it first
        raise OutputError(
            f"--output must be empty or hold {_a(plan.kind)} job: {output.url} holds "
            f"{', '.join(found[:3])}{' …' if len(found) > 3 else ''}; choose another --output"
        )
    stored = output.read(PLAN)
    try:
        record = json.loads(stored)
        kind, identity, units_hash = record["kind"], dict(record["identity"]), record["units_sha256"]
        if not (isinstance(kind, str) and kind):
            raise ValueError("a job without a kind")
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise OutputError(
            f"{output.url}/{PLAN} must be the plan of a job ({error}); choose another --output"
        ) from error
    advice = "choose another --output, or delete this one to start over"
    if kind != plan.kind:
        raise OutputError(
            f"--output must be empty or hold {_a(plan.kind)} job: {output.url} holds {_a(kind)} job; {advice}"
        )
    same = f"--output must be empty or hold the same job: {output.url} holds {_a(kind)} job"
    for name in sorted({*identity, *plan.identity}):
        was, now = identity.get(name), plan.identity.get(name)
        if was != now:
            name, was, now = _difference(name, was, now)
            raise OutputError(f"{same} with {name} {_short(was)}, got {_short(now)}; {advice}")
    if units_hash != plan.units_hash:
        raise OutputError(f"{same} over other input, or the input has changed; {advice}")
    return True


def reading_summary(output: Folder, name: str = SUMMARY) -> AbstractContextManager[None]:
    """A block that uses the summary of a finished job: a UserError says if that is damaged."""
    return parsing(f"{output.url}/{name}", "delete it, and the same command makes it again", OutputError)


def _difference(name: str, was: object, now: object) -> tuple[str, object, object]:
    """The first entry that differs, of values that may have entries themselves."""
    while isinstance(was, dict) and isinstance(now, dict):
        key = next(key for key in sorted({*was, *now}) if was.get(key) != now.get(key))
        name, was, now = f"{name}.{key}", was.get(key), now.get(key)
    return name, was, now


def _a(kind: str) -> str:
    return f"{'an' if kind[0] in 'aeiou' else 'a'} {kind}"


def _short(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= 40 else f"{text[:36]}…{text[-1]}"
