"""A worker keeps to the memory that `--workers` states, on inputs whose mean sizes say little."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from image_files import pngs
from memory import peak

BUDGET = 512 << 20  # bytes beside the model, of one worker


def table(path: Path, texts: list[str], dictionary: bool = False) -> None:
    """Rows with these texts, in pages of a few."""
    from bundles import pictures

    path.parent.mkdir(exist_ok=True)
    ordinary = pngs(pictures(400, seed=5))  # of which hardly any are flagged, as the list of these keeps texts, too
    columns = pa.table({"image": [ordinary[row % 400] for row in range(len(texts))], "text": texts})
    pq.write_table(columns, path, write_batch_size=8, use_dictionary=dictionary, dictionary_pagesize_limit=64 << 20)


def repeated(folder: Path) -> None:
    """600 MB of texts, which the file has once each."""
    texts = [letter * 1_000_000 for letter in "abc"]
    table(folder / "a.parquet", texts * 200, dictionary=True)


def small_and_large(folder: Path) -> None:
    """A table of many small rows, and one of a few large ones: 240 MB, of a mean of 12 kB over both."""
    numbers = np.random.default_rng(0)
    table(folder / "a.parquet", ["small"] * 20_000)
    table(folder / "b.parquet", [numbers.bytes(300_000).hex() for _ in range(400)])


def few(folder: Path) -> None:
    table(folder / "a.parquet", ["small"] * 10)


def taken(bundle: Path, folder: Path, write: Callable[[Path], None]) -> int:
    """The memory, in bytes, that a job with one worker takes."""
    write(folder / "input")
    files = ["--bundle", str(bundle), "--images", str(folder / "input"), "--output", str(folder / "output")]
    few_flagged = ["--fpr", "0.0025", "--fdr", "0.001", "--explain", "0", "--gallery", "0"]
    return peak("jobs.score", [*files, *few_flagged, "--keep", "text", "--engine", "local", "--workers", "1"])


@pytest.mark.parametrize("write", [repeated, small_and_large])
def test_a_worker_keeps_to_its_budget(bundle: Path, tmp_path: Path, write: Callable[[Path], None]) -> None:
    (tmp_path / "few").mkdir()
    assert taken(bundle, tmp_path, write) - taken(bundle, tmp_path / "few", few) < BUDGET
