"""Measurement of the cost model's parameters: per image, per unit, per file, per part and per job.

Computation is measured in seconds of one core, by the process's CPU clock, so that it does not depend on other load;
waiting (a commit with its fsync, a call through Ray) by the wall clock.
"""

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from benchmarks import material
from benchmarks.scaling.simulated import SimulatedTask, plan
from export.bundle.format import Bundle
from export.guarantees.p_values import SCORE
from export.images.contract import ImageContract
from export.runtime.device import Device
from export.runtime.scorer import Scorer
from export.storage import Folder
from jobs.bulk import Part
from jobs.bulk.attempts import Attempts
from jobs.bulk.commit import commit, finished_units, part_name
from jobs.bulk.plan import PLAN, check_output, make_plan
from jobs.discoveries.control import MAX_DISCOVERIES, RankCounter
from jobs.discoveries.drift import StatisticCounter, calibration_edges
from jobs.discoveries.histogram import HistogramCounter, score_edges
from jobs.discoveries.top import TopCounter
from jobs.discoveries.walk import walk
from jobs.images.reader import read_unit
from jobs.images.source import find_images, plan_units
from jobs.images.units import Unit


class PerImage(NamedTuple):
    """Cost of an image in time of a core and in network traffic."""

    inference: float  # seconds
    read_packed: float
    read_png: float  # decoding included
    packed_bytes: float  # of the input, as it is stored
    png_bytes: float
    written_bytes: float  # scores
    encode: float  # seconds: the scores as Parquet


class Measured(NamedTuple):
    """All parameters; seconds unless said otherwise."""

    images: dict[str, PerImage]  # "28×28 grey", "64×64 colour"
    footer: float  # of a file, in the plan
    plan_entry: float  # of a unit: made, hashed, written, and compared when the job resumes
    plan_bytes: float  # of a unit
    markers: float  # of a unit, on the local disk
    commit: float  # of a unit, its fsync included, its encoding not
    survey_part: float  # of one core, for a part of 32,768 rows
    list_part: float  # of the folder of results, for each part in it
    receipt: float  # of the driver's core, for a call through Ray Data
    receipt_wall: float  # between two calls here, on two cores
    ray_start: float  # until the first unit on a cluster started here
    local_start: float  # of the process, until its first unit
    process_start: float  # imports


def measure(work: Path, quick: bool) -> Measured:
    images = {"28×28 grey": per_image("demo" if quick else "fashion-mnist", "grey", quick)}
    if not quick:
        images["64×64 colour"] = per_image("emoji64", "colour", quick)
    bundle = Bundle.open(str(material.bundle("demo")))
    units = plan(10_000_000 if quick else 100_000_000)
    part = next(iter(SimulatedTask(str(material.bundle("demo")), 0.0).open(Device("cpu"))(units[0])))
    with tempfile.TemporaryDirectory(dir=work) as folder:
        output = Folder.at(folder)
        entry, entry_bytes = plan_entries(output, units)
        markers, commits = units_on_disk(output.child("units"), part, 10 if quick else 40)
        survey = survey_seconds(output.child("survey"), part, bundle, 6 if quick else 30)
        listing = list_seconds(output.child("listing"), 1000 if quick else 30_518)
    few, many = (20, 60) if quick else (200, 1_700)
    first, second = ray_run(few), ray_run(many)
    return Measured(
        images=images,
        footer=footer_seconds(work, 20 if quick else 300),
        plan_entry=entry,
        plan_bytes=entry_bytes,
        markers=markers,
        commit=commits,
        survey_part=survey * 32_768 / part.results.num_rows,
        list_part=listing,
        receipt=(second.processor - first.processor) / (many - few),
        receipt_wall=max(1e-4, second.seconds - first.seconds) / (many - few),
        ray_start=statistics.median([first.startup, second.startup]),
        local_start=local_start(),
        process_start=process_start(),
    )


def cpu(work: Callable[[], object], times: int = 3) -> float:
    """Seconds of processor time, the minimum over `times` runs."""
    found = []
    for _ in range(times):
        began = time.process_time()
        work()
        found.append(time.process_time() - began)
    return min(found)


def wall(work: Callable[[], object]) -> float:
    began = time.monotonic()
    work()
    return time.monotonic() - began


def per_image(recipe: str, colour: material.Colour, quick: bool) -> PerImage:
    rows = 1_000 if quick else 4_000
    bundle = Bundle.open(str(material.bundle(recipe)))
    scorer = Scorer(bundle, provider="cpu")
    contract = ImageContract(*bundle.shape)

    def read(kind: material.Kind) -> tuple[float, float]:
        source = material.images(colour, kind, rows)
        (unit,) = plan_units(find_images([str(source)]), rows)
        stored = sum(file.stat().st_size for file in source.glob("*.parquet")) / rows
        return cpu(lambda: [len(batch.images) for batch in read_unit(unit, contract)]) / rows, stored

    packed, packed_bytes = read("packed")
    png, png_bytes = read("png")
    images = np.tile(material.arrays(colour)[:512], (2, 1, 1, 1))
    inference = cpu(lambda: scorer.score(images)) / len(images)
    unit = plan(10_000_000)[0]
    part = next(iter(SimulatedTask(str(material.bundle(recipe)), 0.0).open(Device("cpu"))(unit)))
    options = SimulatedTask("", 0.0).parquet_options
    with tempfile.TemporaryDirectory() as folder:
        encode = cpu(lambda: Folder.at(folder).write_table("a.parquet", part.results, **options)) / unit.rows
        written = (Path(folder) / "a.parquet").stat().st_size / unit.rows
    return PerImage(inference, packed, png, packed_bytes, png_bytes, written, encode)


def footer_seconds(work: Path, files: int) -> float:
    """Seconds to read the footer of one of many different files."""
    source = next(material.images("grey", "packed", 1_000).glob("*.parquet"))
    with tempfile.TemporaryDirectory(dir=work) as folder:
        for number in range(files):
            shutil.copy(source, Path(folder) / f"{number:05d}.parquet")
        return cpu(lambda: find_images([folder])) / files


def plan_entries(output: Folder, units: Sequence[Unit]) -> tuple[float, float]:
    began = time.process_time()
    planned = make_plan("score", {}, units)
    text = planned.to_json()
    output.write_text(PLAN, text)
    check_output(output, planned)
    return (time.process_time() - began) / len(units), len(text) / len(units)


def units_on_disk(output: Folder, part: Part, count: int) -> tuple[float, float]:
    """Seconds for the markers of a unit, and for its commit without the encoding."""
    attempts = Attempts(output)
    empty = Part(part.results.slice(0, 0), part.errors)
    options = SimulatedTask("", 0.0).parquet_options
    encoding = cpu(lambda: output.write_table("once.parquet", part.results, **options))
    markers, commits = [], []
    for number in range(count):
        markers.append(wall(lambda n=number: attempts.end(n, attempts.begin(n))))  # type: ignore[misc]
        commits.append(wall(lambda n=number: commit(part, n, output, "scores", options)))  # type: ignore[misc]
    commit(empty, 0, output, "scores", options)
    output.delete_all()
    return statistics.median(markers), max(1e-4, statistics.median(commits) - encoding)


def survey_seconds(output: Folder, part: Part, bundle: Bundle, parts: int) -> float:
    """Seconds of one core per part, for the counts at the end of a job."""
    for number in range(parts):
        output.write_table(part_name(number), part.results, **SimulatedTask("", 0.0).parquet_options)
    calibration = bundle.calibration_scores
    edges, statistics = score_edges(calibration, float(np.median(calibration))), calibration_edges(bundle.calibration)

    def count() -> None:
        counters = [RankCounter(len(calibration)), StatisticCounter(statistics)]
        walk(output, [*counters, HistogramCounter(SCORE, edges), TopCounter(MAX_DISCOVERIES)])

    return cpu(count, 2) / parts


def list_seconds(output: Folder, parts: int) -> float:
    """Seconds to find which of `parts` units are finished."""
    output.write_table(part_name(0), pa.table({"a": [1]}))
    first = Path(output.file(part_name(0)))
    for number in range(1, parts):
        (first.parent / part_name(number)).hardlink_to(first)
    parent = first.parent
    return cpu(lambda: finished_units(Folder.at(parent.parent), parent.name), 2) / parts


class RayRun(NamedTuple):
    processor: float  # seconds of the driver
    seconds: float  # from the first unit to the last
    startup: float


def ray_run(calls: int) -> RayRun:
    """Empty units through the Ray engine, on a cluster of four logical CPUs started for it."""
    found = subprocess.run(
        [sys.executable, "-m", "benchmarks.scaling.calls", str(calls)], capture_output=True, text=True, check=True
    )
    return RayRun(*(float(number) for number in found.stdout.split()[-3:]))


def local_start() -> float:
    """Seconds of a process that scores a thousand images, minus their scoring."""
    with tempfile.TemporaryDirectory() as folder:
        options = ["--bundle", str(material.bundle("demo")), "--output", f"{folder}/out", "--engine", "local"]
        images = ["--images", str(material.images("grey", "packed", 1_000))]
        command = [sys.executable, "-m", "jobs.score", *options, *images]
        return wall(lambda: subprocess.run(command, capture_output=True, check=True))


def process_start() -> float:
    program = [sys.executable, "-c", "import jobs.score.job"]
    return wall(lambda: subprocess.run(program, check=True, env=dict(os.environ)))
