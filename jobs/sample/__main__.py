"""Generate a corpus of images from a bundle's model.

    vae sample --bundle bundle/ --count 10000 --output corpus/

The output holds `images/*.parquet` as the `datasets` library reads them, or `images/*.png` with an index, and at the
end `summary.json`. Sample i of a seed is the same image in every corpus. Killed, it goes on with the same command.
"""

import sys
from collections.abc import Sequence

import tyro

from jobs.cli import run_main
from jobs.sample.job import sample
from jobs.sample.options import SampleOptions


def main(argv: Sequence[str] | None = None) -> None:
    """The command `vae sample`."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    run_main("sample", lambda: sample(tyro.cli(SampleOptions, args=arguments, prog="vae sample")))


if __name__ == "__main__":
    main()
