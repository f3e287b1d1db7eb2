"""The commands, on one machine or a Ray cluster: a package for each, and the packages that they share.

`jobs` and `export` are common names. `python -m jobs.score` puts the working directory first on sys.path, where a
user's `export.py` could shadow ours, so our other packages are imported here first, from the directory of this one.
See `jobs.bulk.shipping` for the other processes of a job.
"""

import importlib
import sys
from pathlib import Path


def _import_from(root: str) -> None:
    sys.path.insert(0, root)
    try:
        for name in ("vae_core", "export"):
            importlib.import_module(name)
    finally:
        sys.path.remove(root)


_import_from(str(Path(__file__).parents[1]))
