"""Find the images of a folder that do not belong there.

    vae find --images photos/ --output found/

The output contains `scores/*.parquet` with the `rank` of every image, the most outlying first, `errors/*.parquet`,
`explanations.parquet`, `report.html`, and finally `summary.json`. Rerun the same command to resume.
"""

from collections.abc import Sequence

from jobs.bulk.progress import working
from jobs.find.options import FindOptions
from jobs.program.cli import run_main


def main(argv: Sequence[str] | None = None) -> None:
    """The command `vae find`."""
    run_main("find", FindOptions, _run, argv)


def _run(options: FindOptions) -> None:
    with working("find", "loading PyTorch"):
        from jobs.find.job import find  # needs torch; --help does not

    find(options)


if __name__ == "__main__":
    main()
