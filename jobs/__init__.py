"""What runs on a cluster and from the command line: a package for each command, and what they share.

`jobs` and `export` are common words. `python -m jobs.score` puts the working directory first on the path, where a file
`export.py` may lie that is not ours, so that our other packages are imported here, from beside this one, before
anything else is. See `jobs.bulk.shipping` for the other processes of a job.
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
