"""Verify a bundle in other runtimes."""

import json
import math
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from export.bundle.format import Bundle
from export.runtime.agreement import Difference
from jobs.program import console
from jobs.verify import process, work
from jobs.verify.options import VerifyOptions
from jobs.verify.registry import RUNTIMES, Installed, Places, Runtime, pythons
from vae_core.errors import UserError

Status = Literal["ok", "differs", "failed", "not loaded"]
_REASON = 160  # characters of a runtime's message in the table


class Row(NamedTuple):
    """One graph in one runtime."""

    runtime: str
    graph: str
    status: Status
    worst: Difference | None  # relative to its tolerance, of all outputs at all batch sizes
    batch: int | None  # at which that was
    error: str | None
    differences: Mapping[int, Sequence[Difference]]  # by batch size


def verify(options: VerifyOptions) -> bool:
    """Run a bundle's graphs in other runtimes, print a table, and return whether all that loaded agree.

    Raises:
        UserError: there is no such bundle, graph or runtime, a runtime that was named is not installed or opens no
            graph, or none is installed or opens one.
    """
    bundle = options.open_bundle()
    graphs = _graphs(bundle, options.graph)
    places = Places(pythons(options.python), options.node_modules)
    found = {name: runtime.find(places) for name, runtime in _named(options).items()}
    if options.runtime and (missing := [name for name, installed in found.items() if installed is None]):
        raise UserError(
            f"--runtime {missing[0]} is not installed: run {RUNTIMES[missing[0]].install}, and name its place with "
            "--python or --node-modules if it is another than this program's"
        )
    rows: list[Row] = []
    for name, installed in found.items():
        if installed is not None:
            console.note("verify", f"{RUNTIMES[name].title} {installed.version}", runtime=name)
            rows += _run(name, installed, bundle, graphs, options)
    wrong = [row for row in rows if row.status in ("differs", "failed") and RUNTIMES[row.runtime].judged]
    report = _json(bundle, options, found, rows)
    text = json.dumps(report, indent=2) if options.json else "\n".join(_table(found, rows, wrong))
    console.result(text, **report)
    if not rows:
        advice = "install one, name its place with --python or --node-modules, or --skip fewer"
        raise UserError(f"no runtime was run: {advice}")
    if not wrong:
        _require_loaded(options, rows)
    return not wrong


def _require_loaded(options: VerifyOptions, rows: Sequence[Row]) -> None:
    """Raise a UserError if nothing was verified: by a runtime that was named, or by any."""
    loaded = {row.runtime for row in rows if row.status != "not loaded"}
    idle = [name for name in options.runtime if name not in loaded]
    if idle or not loaded:
        who = f"--runtime {idle[0]}" if idle else "no runtime"
        graphs = "opens none of the graphs" if idle else "opens a graph"
        raise UserError(f"{who} {graphs}, for the reasons in the table; use another runtime, or another version of it")


def _named(options: VerifyOptions) -> Mapping[str, Runtime]:
    """The runtimes to run, or all without those that are left out."""
    for option, names in (("--runtime", options.runtime), ("--skip", options.skip)):
        for name in names:
            if name not in RUNTIMES:
                raise UserError(f"{option} must be one of {', '.join(RUNTIMES)}, got {name}")
    return {name: RUNTIMES[name] for name in options.runtime or RUNTIMES if name not in options.skip}


def _graphs(bundle: Bundle, names: Sequence[str]) -> Sequence[str]:
    known = tuple(bundle.manifest["graphs"])
    for name in names:
        if name not in known:
            raise UserError(f"--graph must be one of {', '.join(known)}, got {name}")
    return names or known


def _run(
    name: str, installed: Installed, bundle: Bundle, graphs: Sequence[str], options: VerifyOptions
) -> Iterator[Row]:
    with tempfile.TemporaryDirectory(prefix="vae-verify-") as path:
        folder = Path(path)
        work.prepare(folder, bundle, graphs, options.batch)
        process.run(installed, folder, graphs, options.time_limit)
        for graph in graphs:
            yield _row(name, graph, work.answer(folder, bundle, graph))


def _row(runtime: str, graph: str, answer: work.Answer) -> Row:
    status: Status = "ok"
    if answer.error is not None:
        status = "failed" if answer.loaded else "not loaded"
    elif not all(each.ok for differences in answer.differences.values() for each in differences):
        status = "differs"
    seen = [(each, size) for size, differences in answer.differences.items() for each in differences]
    worst, batch = max(seen, key=lambda pair: pair[0].share, default=(None, None))
    return Row(runtime, graph, status, worst, batch, answer.error, answer.differences)


def _table(found: Mapping[str, Installed | None], rows: Sequence[Row], wrong: Sequence[Row]) -> Iterator[str]:
    heads = ("runtime", "graph", "worst output", "difference", "allowed", "")
    lines = [(*map(str, _cells(row)), _status(row)) for row in rows]
    widths = [max(map(len, column)) for column in zip(heads, *lines, strict=True)]
    for line in (heads, *lines):
        yield "  ".join(f"{cell:<{width}}" for cell, width in zip(line, widths, strict=True)).rstrip()
    for name, installed in found.items():
        if installed is None:
            yield f"{name}: not installed; {RUNTIMES[name].install}"
    agree = sum(row.status == "ok" for row in rows)
    yield f"{agree} of {len(rows)} graphs agree, {sum(row.status == 'not loaded' for row in rows)} do not load" + (
        f"; WRONG: {', '.join(f'{row.graph} in {row.runtime}' for row in wrong)}" if wrong else ""
    )


def _cells(row: Row) -> tuple[str, str, str, str, str]:
    if row.worst is None:
        return row.runtime, row.graph, "", "", ""
    return row.runtime, row.graph, row.worst.output, f"{row.worst.found:.1e}", f"{row.worst.allowed:.1e}"


def _status(row: Row) -> str:
    if row.error is not None:
        return f"{row.status}: {' '.join(row.error.split())[:_REASON]}"
    if row.status == "differs":
        note = "" if RUNTIMES[row.runtime].judged else ", which is not counted"
        return f"differs at batch {row.batch}{note}"
    return row.status


def _json(
    bundle: Bundle, options: VerifyOptions, found: Mapping[str, Installed | None], rows: Sequence[Row]
) -> dict[str, Any]:
    return {
        "bundle": options.bundle,
        "bundle_hash": bundle.hash,
        "batches": list(options.batch),
        "runtimes": {
            name: {
                "title": RUNTIMES[name].title,
                "version": installed and installed.version,
                "judged": RUNTIMES[name].judged,
                "install": RUNTIMES[name].install,
            }
            for name, installed in found.items()
        },
        "graphs": [
            {
                "runtime": row.runtime,
                "graph": row.graph,
                "status": row.status,
                "error": row.error,
                "batches": {size: [_difference(each) for each in found] for size, found in row.differences.items()},
            }
            for row in rows
        ],
    }


def _difference(each: Difference) -> dict[str, Any]:
    """JSON has no infinity, and none for what is not a number: they are null."""
    found, share = (value if math.isfinite(value) else None for value in (each.found, each.share))
    return {"output": each.output, "difference": found, "allowed": each.allowed, "share": share, "ok": each.ok}
