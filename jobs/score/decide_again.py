"""Another `--fpr`, `--fdr`, `--storey` or `--missed` for scored images: what depends on them is written anew.

Scores do not. The level of `is_outlier` stands in the metadata of each part; a part of another level is replaced, whole
and atomically, so that a job that is killed in between goes on where it was.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from export.guarantees.classes import Classes
from export.guarantees.p_values import P_VALUE, SCORE
from jobs.bulk import Totals
from jobs.bulk.commit import over_parts, part_names
from jobs.bulk.plan import SUMMARY
from jobs.bulk.progress import Progress
from jobs.score.plan import ScoreJob
from jobs.score.task import IS_OUTLIER, LEVEL, ScoreTask, level_text

DECISION = ("fpr", "fdr", "storey")
"""The options of a decision, which are no part of the job's identity."""


def decision_of(job: ScoreJob) -> dict[str, Any]:
    """What a job's decision is of, for its summary; of --missed the list itself, as its file may change."""
    listed = hashlib.sha256(json.dumps(job.missed).encode()).hexdigest() if job.missed else None
    return {name: getattr(job.options, name) for name in DECISION} | {"missed": listed}


def is_decided(job: ScoreJob, summary: Mapping[str, Any]) -> bool:
    """Whether a finished job's summary is of these options."""
    return bool(summary["decision"] == decision_of(job))


def reopen(job: ScoreJob, summary: Mapping[str, Any]) -> Totals:
    """Make a finished job one that is scored and not decided; return what its scoring took."""
    job.output.delete(SUMMARY)
    last = summary["last_run"]
    return Totals(
        engine=summary["engine"],
        workers=int(last["workers"]),
        units=0,
        rows=int(last["rows"]),
        results=0,
        errors=0,
        startup_seconds=last["startup_seconds"],
        seconds=last["seconds"],
    )


def decide_parts(job: ScoreJob, task: ScoreTask) -> int:
    """Bring all parts to the job's level; return how many were of another."""
    level = level_text(job.options.fpr).encode()
    classes, parts = job.classes, job.parts

    def other_level(name: str) -> str | None:
        with parts.opened(name) as stream:
            return name if (pq.read_schema(stream).metadata or {}).get(LEVEL) != level else None

    names = [name for name in over_parts(parts, part_names(parts), other_level) if name is not None]
    if not names:
        return 0

    def rewrite(name: str) -> None:
        tables = (_decided(task, classes, table, level) for table in parts.row_groups(name))
        parts.write_tables(name, tables, **task.parquet_options)

    with Progress("decide", "parts", len(names)) as progress:
        for _ in over_parts(parts, names, rewrite):
            progress.add(1)
    return len(names)


def _decided(task: ScoreTask, classes: Classes, table: pa.Table, level: bytes) -> pa.Table:
    """A part at another level: with --per-class, which classes have enough calibration images depends on it, too."""
    numbers = {name: table[name].to_numpy() for name in (SCORE, P_VALUE)}
    tested, outlying = task.significance.test(classes, table, numbers)
    names = [field.name for field in task.significance.fields]
    for name, column in {**dict(zip(names, tested, strict=True)), IS_OUTLIER: pa.array(outlying)}.items():
        at = table.schema.get_field_index(name)
        table = table.set_column(at, table.schema.field(at), column)
    return table.replace_schema_metadata({**(table.schema.metadata or {}), LEVEL: level})
