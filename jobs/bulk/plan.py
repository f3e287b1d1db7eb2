"""The plan of a job, written to its output before anything else, and what an output directory may hold.

`plan.json` says what the job is (its kind and identity) and what each numbered unit covers. The same input
gives the same plan, so a command that is run again finds its own plan, and a different command is refused.
"""

import hashlib
import json
from collections.abc import Sequence
from typing import Any, NamedTuple

from export.storage import Folder
from jobs.bulk.contract import Unit
from vae_core.errors import UserError

PLAN = "plan.json"
SUMMARY = "summary.json"
FORMAT = 1


class Plan(NamedTuple):
    """What a job is and what it covers."""

    kind: str
    identity: dict[str, Any]  # as JSON gives it back
    units: list[dict[str, Any]]  # what each unit says of itself
    rows: int

    @property
    def units_hash(self) -> str:
        """The SHA-256 of the units: another one means that the input is another."""
        return hashlib.sha256(_lines(self.units).encode()).hexdigest()

    def to_json(self) -> str:
        """The plan as text: a header that people can read, then one line per unit."""
        header = {
            "format": FORMAT,
            "kind": self.kind,
            "identity": self.identity,
            "rows": self.rows,
            "units_sha256": self.units_hash,
        }
        return json.dumps(header, indent=2)[:-2] + f',\n  "units": [\n{_lines(self.units)}\n  ]\n}}\n'


def _lines(units: Sequence[dict[str, Any]]) -> str:
    return ",\n".join(json.dumps(unit) for unit in units)


def make_plan(kind: str, identity: dict[str, Any], units: Sequence[Unit]) -> Plan:
    """The plan of a job over `units`."""
    return Plan(
        kind=kind,
        identity=json.loads(json.dumps(identity)),  # as it will be compared: tuples are lists
        units=[unit.to_json() for unit in units],
        rows=sum(unit.rows for unit in units),
    )


def check_output(output: Folder, plan: Plan) -> bool:
    """Whether `output` already holds this plan; False if it is empty. Nothing is written.

    Raises:
        UserError: the output holds another job's files, or anything else that is not ours to add to.
    """
    if not output.has(PLAN):
        found = [*output.names(), *(f"{name}/" for name in output.subfolders())]
        if found:
            raise UserError(
                f"{output.url} already holds {', '.join(found[:3])}{' …' if len(found) > 3 else ''}, "
                f"which no {plan.kind} job left there; choose an empty --output"
            )
        return False
    try:
        stored = json.loads(output.read_text(PLAN))
        kind, identity, units_hash = stored["kind"], dict(stored["identity"]), stored["units_sha256"]
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{output.url}/{PLAN} is not the plan of a job ({error}); choose another --output") from error
    advice = "choose another --output, or delete this one to start anew"
    if kind != plan.kind:
        raise UserError(f"{output.url} holds {_a(kind)} job, not {_a(plan.kind)} job; {advice}")
    for name in sorted({*identity, *plan.identity}):
        was, now = identity.get(name), plan.identity.get(name)
        if was != now:
            raise UserError(
                f"{output.url} holds {_a(kind)} job with another {name} ({_short(was)}, now {_short(now)}); {advice}"
            )
    if units_hash != plan.units_hash:
        raise UserError(f"{output.url} holds {_a(kind)} job over another input, or it has changed since; {advice}")
    return True


def _a(kind: str) -> str:
    return f"{'an' if kind[0] in 'aeiou' else 'a'} {kind}"


def _short(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= 40 else f"{text[:36]}…{text[-1]}"
