"""Find the images of a folder that do not belong there.

    vae find --images photos/ --output found/

The output contains `scores/*.parquet` with the `rank` of every image, the most outlying first, `errors/*.parquet`,
`explanations.parquet`, `report.html`, and finally `summary.json`. Rerun the same command to resume.
"""

import sys
from collections.abc import Sequence

import tyro

from jobs.cli import run_main
from jobs.find.options import FindOptions


def main(argv: Sequence[str] | None = None) -> None:
    """The command `vae find`."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    run_main("find", lambda: _run(tyro.cli(FindOptions, args=arguments, prog="vae find")))


def _run(options: FindOptions) -> None:
    from jobs.find.job import find  # needs torch; --help does not

    find(options)


if __name__ == "__main__":
    main()
