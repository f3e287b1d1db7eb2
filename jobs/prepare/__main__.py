"""Bring images of any layout into the packed one, which every job reads fastest.

    vae prepare --source photos/ --size 64 --output packed/
    vae prepare --source torchvision:FashionMNIST --output fashion/

The output holds `images/*.parquet` (see `jobs.images.packing`), `errors/*.parquet` with the rows that could not be
converted and why, and at the end `summary.json`. Killed, it goes on with the same command.
"""

import sys
from collections.abc import Sequence

import tyro

from jobs.cli import run_main
from jobs.prepare.job import prepare
from jobs.prepare.options import PrepareOptions


def main(argv: Sequence[str] | None = None) -> None:
    """The command `vae prepare`."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    run_main("prepare", lambda: prepare(tyro.cli(PrepareOptions, args=arguments, prog="vae prepare")))


if __name__ == "__main__":
    main()
