"""Generate images from a bundle.

    vae sample --bundle bundle/ --count 10000 --output corpus/

The output contains `images/*.parquet` in the format of the `datasets` library, or `images/*.png` with an index, and
finally `summary.json`. Sample i of a seed is the same image in every corpus. Rerun the same command to resume.
"""

from collections.abc import Sequence

from jobs.program.cli import run_main
from jobs.sample.job import sample
from jobs.sample.options import SampleOptions


def main(argv: Sequence[str] | None = None) -> None:
    """The command `vae sample`."""
    run_main("sample", SampleOptions, sample, argv)


if __name__ == "__main__":
    main()
