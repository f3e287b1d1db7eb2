"""The entry point of `vae`: it imports the package `jobs` beside this one, and no other.

`jobs` is a common name, and directories on PYTHONPATH, where Ray puts a job's working directory, take precedence over
installed packages. The name of this package is unique.
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
