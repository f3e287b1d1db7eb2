"""Score images for outliers.

    vae score --bundle bundle/ --images photos/ --output scored/

The output contains `scores/*.parquet`, `errors/*.parquet` with the rows that failed and why, `discoveries.parquet`,
`explanations.parquet`, `report.html`, and finally `summary.json`. Rerun the same command to resume.
"""

from collections.abc import Sequence

from jobs.program.cli import run_main
from jobs.score.job import score
from jobs.score.options import ScoreOptions


def main(argv: Sequence[str] | None = None) -> None:
    """The command `vae score`."""
    run_main("score", ScoreOptions, score, argv)


if __name__ == "__main__":
    main()
