"""Bulk jobs: plan, map, commit, shared by every job over very many rows.

A job is a `Task` and a list of units of work. `run` writes the plan, maps the units on workers (threads of this
process, or actors of a Ray cluster), and commits each unit's results as files named after its number. A unit whose
file exists is done, so rerunning a killed job resumes it.
"""

from jobs.bulk.contract import Part, Task, Unit
from jobs.bulk.options import BulkOptions, BundleOptions, InferenceOptions
from jobs.bulk.run import Totals, finish, run

__all__ = ["BulkOptions", "BundleOptions", "InferenceOptions", "Part", "Task", "Totals", "Unit", "finish", "run"]
