"""Split a Parquet file into training and test images, for data sets in one file.

    python -m benchmarks.outliers.split DATA/mnist_10k.parquet DATA/mnist-split --test 2000
    python -m benchmarks.outliers.split DATA/emoji_rgb64.parquet DATA/emoji-split --test 316

writes train.parquet and test.parquet, deterministically, for the study's settings `mnist` and `emoji`. Of the first,
8,000 rows remain to train on, of which `vae train --validation-images 500 --calibration-images 500` trains on 7,000; of
the second 3,600, of which `--validation-images 300 --calibration-images 300` trains on 3,000.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import tyro


@dataclass(frozen=True)
class Split:
    """Split a Parquet file in two."""

    source: tyro.conf.Positional[Path]
    """The file."""
    output: tyro.conf.Positional[Path]
    """The folder for train.parquet and test.parquet."""
    test: int
    """Test rows; the others are for training."""


def split(options: Split) -> None:
    table = pq.read_table(options.source)
    order = np.random.default_rng(0).permutation(len(table))
    options.output.mkdir(parents=True, exist_ok=True)
    for name, rows in (("test", order[: options.test]), ("train", order[options.test :])):
        pq.write_table(table.take(np.sort(rows)), options.output / f"{name}.parquet")


if __name__ == "__main__":
    split(tyro.cli(Split))
