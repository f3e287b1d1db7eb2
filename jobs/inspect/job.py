"""Say what a folder is: a bundle, a run, or the output of a job."""

import json
from typing import Any

from export.bundle.format import MANIFEST
from export.storage import Folder
from jobs.bulk.plan import PLAN, SUMMARY
from jobs.inspect.facts import Facts, of_bundle, of_evaluation, of_output, of_run
from jobs.inspect.options import InspectOptions
from jobs.program import console
from vae_core.errors import UserError
from vae_core.text import printable

_EVALUATION = "evaluate"  # the kind of its plan


def inspect(options: InspectOptions) -> Facts:
    """Print the facts about a folder, and return them.

    Raises:
        UserError: it is none of ours, or damaged.
    """
    facts = facts_about(options.path, options.bundle_hash)
    width = max(map(len, facts))
    table = "\n".join(f"{printable(name):<{width}}  {_text(value)}" for name, value in facts.items())
    console.result(json.dumps(facts, indent=2) if options.json else table, facts=facts)
    return facts


def facts_about(url: str, bundle_hash: str | None = None) -> Facts:
    """What is known about the folder at a path or URL; if a hash is given, of the bundle that has it."""
    folder = Folder.at(url)
    if folder.is_file:
        raise UserError(f"{url} must be the folder of a bundle, a run or the output of a job, got a file")
    names = set(folder.names())
    if MANIFEST in names:
        return of_bundle(url, bundle_hash)
    if bundle_hash is not None:
        raise UserError(f"--bundle-hash needs the path of a bundle, but {url} has no {MANIFEST}; leave it out")
    if "run.json" in names:
        return of_run(url)
    if PLAN in names:
        plan = folder.read_json(PLAN)
        return of_evaluation(folder) if plan.get("kind") == _EVALUATION else of_output(folder, plan)
    raise UserError(
        f"{url} must hold {MANIFEST} (a bundle), run.json (a run) or {PLAN} (the output of a job), got "
        f"{', '.join(sorted(names)[:3]) or f'no files; is {SUMMARY} deeper?'}"
    )


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{printable(name)} {_text(each)}" for name, each in value.items())
    if isinstance(value, list):
        return ", ".join(map(_text, value))
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "–"}[value]
    if isinstance(value, int):
        return f"{value:,}"
    # Names come from other people's files: a line break in one is no line of this table.
    return f"{value:.6g}" if isinstance(value, float) else printable(str(value))
