"""Score images for outliers.

    vae score --bundle bundle/ --images photos/ --output scored/

The output contains `scores/*.parquet`, `errors/*.parquet` with the rows that failed and why, `discoveries.parquet`,
`explanations.parquet`, `report.html`, and finally `summary.json`. Rerun the same command to resume.
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
