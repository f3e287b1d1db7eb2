"""Score images for outliers.

    vae score --bundle bundle/ --images photos/ --output scored/

The output holds `scores/*.parquet`, `errors/*.parquet` with the rows that could not be scored and why,
`discoveries.parquet`, `report.html`, and at the end `summary.json`. Killed, it goes on with the same command.
"""

import sys
from collections.abc import Sequence

import tyro

from jobs.cli import run_main
from jobs.score.job import score
from jobs.score.options import ScoreOptions


def main(argv: Sequence[str] | None = None) -> None:
    """The command `vae score`."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    run_main("score", lambda: score(tyro.cli(ScoreOptions, args=arguments, prog="vae score")))


if __name__ == "__main__":
    main()
