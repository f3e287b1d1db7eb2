"""Bulk jobs: plan, map, commit, written once for every job that walks over very many rows.

A job is a `Task` and a list of units of work. `run` writes the plan, gives the units to workers (threads of
this process, or actors of a Ray cluster), and commits each unit's results as files named from its number. A
unit whose file exists is done, so a job that was killed goes on with the same command.
"""

from jobs.bulk.contract import Part, Task, Unit
from jobs.bulk.options import BulkOptions, InferenceOptions
from jobs.bulk.run import Totals, finish, run

__all__ = ["BulkOptions", "InferenceOptions", "Part", "Task", "Totals", "Unit", "finish", "run"]
