"""Say what a bundle, a run or the output of a job is, and how far it is.

    vae inspect bundles/photos
    vae inspect runs/photos --json

The files of a bundle are verified. Nothing is changed.
"""

from collections.abc import Sequence

from jobs.inspect.job import inspect
from jobs.inspect.options import InspectOptions
from jobs.program.cli import run_main


def main(argv: Sequence[str] | None = None) -> None:
    """The command `vae inspect`."""
    run_main("inspect", InspectOptions, inspect, argv)


if __name__ == "__main__":
    main()
