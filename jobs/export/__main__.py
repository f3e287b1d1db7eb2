"""Export a training run to a bundle of verified ONNX graphs.

vae export --run DIR --bundle DIR
"""

import sys
from collections.abc import Sequence

import tyro

from jobs.cli import run_main
from jobs.export.job import export
from jobs.export.options import ExportOptions


def main(argv: Sequence[str] | None = None) -> None:
    """The command `vae export`."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    run_main("export", lambda: export(tyro.cli(ExportOptions, args=arguments, prog="vae export")))


if __name__ == "__main__":
    main()
