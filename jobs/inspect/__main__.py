"""Say what a bundle, a run or the output of a job is, and how far it is.

vae inspect bundles/photos
"""

import sys
from collections.abc import Sequence

import tyro

from jobs.cli import run_main
from jobs.inspect.job import inspect
from jobs.inspect.options import InspectOptions


def main(argv: Sequence[str] | None = None) -> None:
    """The command `vae inspect`."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    run_main("inspect", lambda: inspect(tyro.cli(InspectOptions, args=arguments, prog="vae inspect")))


if __name__ == "__main__":
    main()
