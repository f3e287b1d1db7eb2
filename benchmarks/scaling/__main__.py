"""The cost of scoring a billion images: fit a model, check it against a simulated job, predict; see docs/scaling.md.

    python -m benchmarks.scaling [--quick] [--rows 100000000]
    python -m benchmarks.scaling --measured build/bench/scaling.json --cpu-price 0.03    (predicts only)

1. measure the model's parameters (`measured`);
2. run a job of 10⁸ rows whose network is replaced by its measured cost (`job`), kill it half-way with SIGKILL, resume
   it to its end, with the false discovery pass and the report, and compare with the model;
3. measure the driver's part at 10⁹ rows (`driver`);
4. predict time and money for 10⁹ images on 100 nodes of 16 cores, and on 16 GPUs.

Needs about 10 GB of temporary disk space, and about fifteen minutes on two cores.
"""

import argparse
import json
import shutil
import subprocess
import sys
import time
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

from benchmarks import material
from benchmarks.results import Ratio, save
from benchmarks.scaling.measured import Measured, PerImage, measure
from benchmarks.scaling.model import Assumptions, Images, Machines, Prediction, predict, simulation

BILLION = 1_000_000_000
WORK_SECONDS = 240.0  # of the simulated job, which determines its workers
SHAPES = {"28×28 grey": 784, "64×64 colour": 64 * 64 * 3}


def simulate(work: Path, rows: int, cost: float, workers: int) -> dict[str, Any]:
    """Run the job, kill it when half of its parts exist, and run it again."""
    output = work / "scaling-output"
    shutil.rmtree(output, ignore_errors=True)
    sizes = ["--rows", str(rows), "--cost", str(cost), "--workers", str(workers)]
    command = [sys.executable, "-m", "benchmarks.scaling.job", str(output), *sizes]
    parts, half = output / "scores", rows // 30_000 // 2
    began = time.monotonic()
    with (work / "scaling-log").open("w") as log:
        first = subprocess.Popen(command, stdout=log, stderr=log)
        while first.poll() is None and (not parts.exists() or count(parts) < half):
            time.sleep(0.25)
        first.kill()
        first.wait()
    killed, there = time.monotonic() - began, count(parts)
    print(f"  killed after {killed:.0f} s with {there:,} units done", file=sys.stderr, flush=True)
    second = subprocess.run(command, capture_output=True, text=True, check=False)
    if second.returncode:
        sys.exit(f"the simulated job failed:\n{second.stderr}")
    found: dict[str, Any] = json.loads(second.stdout.strip().splitlines()[-1])
    found |= {"killed_after": killed, "units_before_kill": there, "whole": time.monotonic() - began}
    found["output_gb"] = sum(file.stat().st_size for file in output.rglob("*") if file.is_file()) / 1e9
    found["units_done_twice"] = found["units_done"] + there - found["units"]
    shutil.rmtree(output)
    return found


def count(folder: Path) -> int:
    return sum(file.name.startswith("part-") for file in folder.iterdir())


def predictions(measured: Measured, assumed: Assumptions) -> dict[str, Prediction]:
    found = {}
    on_gpu = {"28×28 grey": assumed.gpu_images_grey, "64×64 colour": assumed.gpu_images_colour}
    for shape, image in measured.images.items():
        for png in (False, True):
            name = f"{shape}, {'PNG' if png else 'packed'}"
            common = (measured, image, assumed, Images(BILLION, SHAPES[shape], png))
            found[f"{name}: 100 nodes of 16 cores"] = predict(*common, Machines(100, 16))
            on_gpus = Machines(2, 8 * assumed.cores_per_gpu, 16, on_gpu[shape])
            found[f"{name}: 16 GPUs"] = predict(*common, on_gpus)
    return found


def table(found: dict[str, Prediction]) -> str:
    lines = ["| 10⁹ images | start | work | end | total | limited by | $ |", "|---|---|---|---|---|---|---|"]
    for name, each in found.items():
        seconds = " | ".join(f"{value:,.0f} s" for value in (each.start, each.work, each.end, each.seconds))
        lines.append(f"| {name} | {seconds} | {each.limit} | {each.dollars:,.2f} |")
    return "\n".join(lines)


def read_measured(file: Path) -> Measured:
    """The measurements of an earlier run."""
    stored = json.loads(file.read_text())["measured"]
    return Measured(**stored | {"images": {name: PerImage(**each) for name, each in stored["images"].items()}})


def main() -> None:
    parser = argparse.ArgumentParser(description="Predict a billion images, and check the prediction.")
    parser.add_argument("--quick", action="store_true", help="small sizes: a smoke test")
    parser.add_argument("--rows", type=int, default=100_000_000, help="of the simulated job")
    parser.add_argument("--measured", type=Path, help="results of an earlier run: predict from them, do not measure")
    for field in fields(Assumptions):
        if field.type is float or field.type is int:
            option = f"--{field.name.replace('_', '-')}"
            parser.add_argument(option, type=field.type, default=field.default, help="an assumption")
    options = parser.parse_args()
    assumed = replace(
        Assumptions(), **{name: value for name, value in vars(options).items() if hasattr(Assumptions, name)}
    )
    if options.measured:
        print(table(predictions(read_measured(options.measured), assumed)))
        return
    rows = 1_000_000 if options.quick else options.rows
    material.WORK.mkdir(parents=True, exist_ok=True)

    measured = measure(material.WORK, options.quick)
    for name, value in measured._asdict().items():
        print(f"  {name}: {value}", file=sys.stderr, flush=True)

    image = next(iter(measured.images.values()))
    cost = image.inference + image.read_packed
    workers = max(2, round(rows * cost / (5.0 if options.quick else WORK_SECONDS)))
    ran = simulate(material.WORK, rows, cost, workers)
    resumed = ran["units_done"] / ran["units"]
    predicted = simulation(image, measured, rows, cost, workers, 2) * resumed
    counted = ran["units"] * measured.survey_part * 30_000 / 32_768
    driver = subprocess.run(
        [
            sys.executable,
            "-m",
            "benchmarks.scaling.driver",
            str(rows if options.quick else BILLION),
            str(material.WORK),
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    found = predictions(measured, assumed)
    print(table(found))
    claim = f"simulated job of {rows:,} rows"
    note = "the model's prediction"
    save(
        "scaling",
        [
            Ratio(f"{claim}: work after the kill", ran["seconds"], predicted, "s", note=note),
            Ratio(f"{claim}: processor time of the end", ran["end_processor_seconds"], counted, "s", note=note),
            Ratio(f"{claim}: units done twice, of {workers} workers", ran["units_done_twice"], workers, "", "<= 1.00"),
            Ratio(f"{claim}: rows in scores", ran["scored"], rows, "", ">= 1.00", "rows of the input"),
        ],
        measured=measured._asdict() | {"images": {name: each._asdict() for name, each in measured.images.items()}},
        simulated=ran | {"workers": workers, "seconds_per_image": cost},
        driver=json.loads(driver.stdout),
        assumed=asdict(assumed),
        predicted={name: each._asdict() | {"seconds": each.seconds} for name, each in found.items()},
    )


if __name__ == "__main__":
    main()
