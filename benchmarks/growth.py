"""Whether time per image and memory of scoring are independent of the size and layout of the input.

    python -m benchmarks.growth [--quick]

`vae score --engine local` on 28×28 packed images with the recipe `demo`, the smallest network, where overheads show
most. One process per run; every configuration runs once per round, and each figure is the median over the rounds.

- growth: the seconds per image at 1M and 5M rows against 100k, and the peak resident memory of the whole process. The
  seconds are the job's own `last_run`, from the first unit's beginning to the last one's end;
- layout: 200,000 rows in 100 and in 10,000 files against one file; with additional columns, a text of 2 kB and an
  embedding of 512 bytes, neither kept or the embedding kept; in row groups of 100, 1,000 and 100,000 rows against
  10,000. The cost of a layout may occur before the first unit (footers are read) or after the last: the whole process,
  minus one that scores 1,000 images, is reported too.
"""

import argparse
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks import material
from benchmarks.results import Ratio, alternate, medians, save

FLAT, MATTERS_LITTLE = "<= 1.10", "<= 1.15"
TEXT_BYTES = 2048
# Runs the command in its arguments and prints its processor time and peak memory. A separate, small process: on Linux
# a child's peak includes the memory of its parent at the start.
_PARENT = """
import resource, subprocess, sys
code = subprocess.call(sys.argv[1:])
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(used.ru_utime + used.ru_stime, used.ru_maxrss)
sys.exit(code)
"""


class Run(NamedTuple):
    """The resources that one job used."""

    rows: int
    seconds: float  # of the work, without start-up and end
    whole: float  # of the whole process
    processor: float  # seconds of all cores, of the whole process
    peak_mb: float  # resident memory

    @property
    def microseconds(self) -> float:
        return self.seconds / self.rows * 1e6


def score(images: Path, *options: str) -> Run:
    """Score `images` in a process of its own."""
    output = material.WORK / "growth-output"
    shutil.rmtree(output, ignore_errors=True)
    bundle = material.bundle("demo")
    arguments = ["--bundle", str(bundle), "--images", str(images), "--output", str(output), "--engine", "local"]
    command = [sys.executable, "-c", _PARENT, sys.executable, "-m", "jobs.score", *arguments, *options]
    began = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    whole = time.monotonic() - began
    if done.returncode:
        sys.exit(f"scoring {images} failed:\n{done.stderr}")
    last = json.loads((output / "summary.json").read_text())["last_run"]
    shutil.rmtree(output)
    processor, peak = map(float, done.stdout.split()[-2:])
    per_mb = 1e6 if sys.platform == "darwin" else 1e3  # bytes there, kilobytes elsewhere
    return Run(last["rows"], last["seconds"], whole, processor, peak / per_mb)


def measure(rounds: int, jobs: dict[str, tuple[Path, Sequence[str]]]) -> dict[str, Run]:
    """The medians of every job over the rounds."""
    kept: dict[str, list[Run]] = {name: [] for name in jobs}

    def side(name: str) -> float:
        images, options = jobs[name]
        kept[name].append(score(images, *options))
        return kept[name][-1].microseconds

    alternate(rounds, {name: (lambda name=name: side(name)) for name in jobs})  # type: ignore[misc]
    found = {}
    for name, runs in kept.items():
        middle = medians({field: [getattr(run, field) for run in runs] for field in Run._fields})
        found[name] = Run(**{**middle, "rows": runs[0].rows})
    return found


def growth(rounds: int, sizes: Sequence[int]) -> tuple[list[Ratio], dict[str, Run]]:
    base = material.images("grey", "packed", sizes[0])
    jobs = {}
    for rows in sizes:
        folder = material.linked(base, base.with_name(f"{base.name}-times-{rows // sizes[0]}"), rows // sizes[0])
        jobs[f"{rows:,} rows"] = (folder, ())
    found = measure(rounds, jobs)
    first, *others = found
    ratios = []
    for name in others:
        pair = (found[name], found[first])
        ratios.append(Ratio(f"score {name}: time per image", *(run.microseconds for run in pair), "µs", FLAT, first))
        ratios.append(Ratio(f"score {name}: peak memory", *(run.peak_mb for run in pair), "MB", FLAT, first))
    return ratios, found


def layouts(rounds: int, rows: int) -> tuple[list[Ratio], dict[str, Run]]:
    def made(name: str, files: int = 1, group_rows: int = 10_000, wide: bool = False) -> Path:
        return layout(material.WORK / "images" / f"layout-{rows}-{name}", rows, files, group_rows, wide)

    plain = "one file, row groups of 10,000"
    jobs: dict[str, tuple[Path, Sequence[str]]] = {
        plain: (made("plain"), ()),
        "100 files": (made("100-files", files=100), ()),
        "10,000 files": (made("10000-files", files=min(10_000, rows // 20)), ()),
        "wide columns, not kept": (made("wide", wide=True), ()),
        "wide columns, one kept": (made("wide", wide=True), ("--keep", "embedding")),
        "row groups of 100": (made("groups-100", group_rows=100), ()),
        "row groups of 1,000": (made("groups-1000", group_rows=1_000), ()),
        "row groups of 100,000": (made("groups-100000", group_rows=100_000), ()),
        "start": (layout(material.WORK / "images" / "layout-1000", 1_000, 1, 1_000, wide=False), ()),
    }
    found = measure(rounds, jobs)
    start = found.pop("start")
    ratios = []
    for name in list(found)[1:]:
        pair = (found[name], found[plain])
        target = MATTERS_LITTLE
        each = (run.microseconds for run in pair)
        ratios.append(Ratio(f"score {rows:,} rows, {name}: time per image", *each, "µs", target, plain))
        whole = ((run.whole - start.whole) / rows * 1e6 for run in pair)
        ratios.append(Ratio(f"score {rows:,} rows, {name}: whole job less start-up", *whole, "µs", "", plain))
    return ratios, {**found, "1,000 rows": start}


def layout(folder: Path, rows: int, files: int, group_rows: int, wide: bool) -> Path:
    """The images of `material` in `files` files of equal length, with a text and an embedding column if `wide`."""
    if (folder / "_done").exists():
        return folder
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    table = pq.read_table(material.images("grey", "packed", rows))
    each = rows // files
    letters = np.random.default_rng(0)
    for number in range(files):
        part = table.slice(number * each, each)
        if wide:
            text = letters.integers(97, 123, (each, TEXT_BYTES), np.uint8).tobytes()
            captions = pa.FixedSizeBinaryArray.from_buffers(pa.binary(TEXT_BYTES), each, [None, pa.py_buffer(text)])
            numbers = pa.array(letters.normal(size=each * 128).astype(np.float32))
            part = part.append_column("caption", captions.cast(pa.binary()).cast(pa.large_string()))
            part = part.append_column("embedding", pa.FixedSizeListArray.from_arrays(numbers, 128))
        pq.write_table(part, folder / f"{number:05d}.parquet", row_group_size=group_rows, compression="zstd")
    (folder / "_done").touch()
    return folder


def main() -> None:
    parser = argparse.ArgumentParser(description="Time per image and peak memory of scoring, by size and layout.")
    parser.add_argument("--quick", action="store_true", help="small sizes, one round: a smoke test")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--sizes", type=int, nargs="+", default=[100_000, 1_000_000, 5_000_000])
    parser.add_argument("--rows", type=int, default=200_000, help="of the layouts")
    options = parser.parse_args()
    rounds, sizes, rows = options.rounds, options.sizes, options.rows
    if options.quick:
        rounds, sizes, rows = 1, [20_000, 60_000], 20_000
    larger, sized = growth(rounds, sizes)
    other, laid_out = layouts(rounds, rows)
    runs = {name: run._asdict() for name, run in {**sized, **laid_out}.items()}
    save("growth", [*larger, *other], rounds=rounds, runs=runs)


if __name__ == "__main__":
    main()
