"""Make a bundle of verified ONNX graphs from a training run.

vae export --run DIR --bundle DIR
"""

import sys
from collections.abc import Sequence

import tyro

from jobs.cli import run_main
from jobs.export.job import export
from jobs.export.options import ExportOptions


def main(argv: Sequence[str] | None = None) -> None:
    """Read the command line and export."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    run_main("export", lambda: export(tyro.cli(ExportOptions, args=arguments, prog="vae export")))


if __name__ == "__main__":
    main()
