"""Where the program `vae` begins: it finds the package `jobs` beside this one, and in no other place.

`jobs` is a common word, and a directory on PYTHONPATH, such as Ray makes of a job's working directory, comes before
what is installed. The name of this package is nobody else's. What a job is, nothing here knows.
"""

import importlib
import sys
from pathlib import Path


def main() -> None:
    """Run the command line of `jobs`."""
    here = str(Path(__file__).parents[1])
    sys.path.insert(0, here)
    try:
        importlib.import_module("jobs")
    finally:
        sys.path.remove(here)
    importlib.import_module("jobs.cli").main()
