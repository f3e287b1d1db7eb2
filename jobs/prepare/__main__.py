"""Convert images in any layout to the packed layout, the fastest to read.

    vae prepare --source photos/ --size 64 --output packed/
    vae prepare --source torchvision:FashionMNIST --output fashion/

The output contains `images/*.parquet` (see `jobs.images.packing`), `errors/*.parquet` with the rows that failed and
why, and finally `summary.json`. Rerun the same command to resume.
"""

from collections.abc import Sequence

from jobs.prepare.job import prepare
from jobs.prepare.options import PrepareOptions
from jobs.program.cli import run_main


def main(argv: Sequence[str] | None = None) -> None:
    """The command `vae prepare`."""
    run_main("prepare", PrepareOptions, prepare, argv)


if __name__ == "__main__":
    main()
