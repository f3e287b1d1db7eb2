"""What a GPU brings over the CPUs of the same machine, and whether the results agree.

    python -m benchmarks.gpu [--rounds 3] [--quick]

The real commands, in processes of their own, on 28×28 grey and 64×64 colour images, side by side in rounds:

- `vae train`: images per second of the second of two epochs, with one worker on each;
- `vae score` of packed images: images per second after start-up, workers and provider as the command chooses them;
- `vae sample`: the same.

One bundle of each kind serves both. Every score of the one is compared with that of the other, and a job on the GPU
that is killed in its middle and started again with one that was left alone. Figures are written as they are found, so
that a machine that is lent for minutes loses none. `--device cpu` puts the CPUs on both sides: a trial of this program.
"""

import argparse
import json
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks import material
from benchmarks.results import Ratio, alternate, machine, medians, save
from export.runtime.device import cuda_devices

ROWS: dict[material.Colour, int] = {"grey": 500_000, "colour": 100_000}
NAMES: dict[material.Colour, str] = {"grey": "28×28 grey", "colour": "64×64 RGB"}
_TRAINED, _SAMPLES = 20_000, 50_000
_FPR = 0.01


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda", help="what is compared with the CPUs")
    parser.add_argument("--quick", action="store_true", help="one round of few images: a smoke test")
    options = parser.parse_args()
    if options.device == "cuda" and not cuda_devices():
        sys.exit("benchmarks.gpu needs a CUDA device, and ONNX Runtime finds none here; see --device cpu")
    rounds, scale = (1, 0.02) if options.quick else (options.rounds, 1.0)
    print(json.dumps(machine()), flush=True)
    ratios: list[Ratio] = []
    for colour, rows in ROWS.items():
        bundle = material.bundle(material.recipe_of(colour)).absolute()
        images = material.images(colour, "packed", int(rows * scale)).absolute()
        with tempfile.TemporaryDirectory() as folder:
            scratch = Path(folder)
            for what, measure in {
                "training": partial(train, colour, int(_TRAINED * scale)),
                "scoring": partial(score, bundle, images),
                "sampling": partial(sample, bundle, int(_SAMPLES * scale)),
            }.items():
                sides: dict[str, Callable[[], float]] = {
                    "device": partial(measure, options.device, scratch / "device"),
                    "CPUs": partial(measure, "cpu", scratch / "cpus"),
                }
                rates = medians(alternate(rounds, sides))
                claim = f"{what} {NAMES[colour]}: {options.device} against the CPUs of this machine"
                ratios.append(Ratio(claim, rates["device"], rates["CPUs"], "images/s", note="CPUs"))
                save("gpu", ratios)
            compare(scratch / "device" / "scored", scratch / "cpus" / "scored")
            killed_and_resumed(bundle, images, options.device, scratch / "device")


def train(colour: material.Colour, rows: int, device: str, folder: Path) -> float:
    """Images per second of the second epoch of `vae train`."""
    run = _empty(folder / "run")
    images = material.images(colour, "packed", rows).absolute()
    few = ["--validation-images", "64", "--calibration-images", "64", "--importance-samples", "1"]
    recipe = ["--recipe", material.recipe_of(colour), "--epochs", "2"]
    vae("train", "--images", str(images), "--run", str(run), *recipe, *few, "--device", device, "--workers", "1")
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    print(f"  epochs on {device}: {[round(record['validation_elbo'], 2) for record in records]} validation ELBO")
    return float(records[-1]["images_per_second"])


def score(bundle: Path, images: Path, provider: str, folder: Path) -> float:
    """Images per second of `vae score`, after start-up."""
    output = _empty(folder / "scored")
    vae(*scoring(bundle, images, output, provider))
    return _rate(output)


def scoring(bundle: Path, images: Path, output: Path, provider: str) -> list[str]:
    """The words of a command that scores."""
    words = ["score", "--bundle", str(bundle), "--images", str(images), "--output", str(output)]
    return [*words, "--provider", provider, "--engine", "local", "--fpr", str(_FPR)]


def sample(bundle: Path, count: int, provider: str, folder: Path) -> float:
    """Images per second of `vae sample`, after start-up."""
    output = _empty(folder / "samples")
    words = ["sample", "--bundle", str(bundle), "--count", str(count), "--output", str(output)]
    vae(*words, "--provider", provider, "--engine", "local")
    return _rate(output)


def compare(one: Path, other: Path) -> bool:
    """Print how far two tables of scores are apart; whether they are equal."""
    a, b = (_scores(folder) for folder in (one, other))
    assert a.select(["file", "row"]).equals(b.select(["file", "row"])), "not the same rows"
    for name in ("outlier_score", "p_value"):
        x, y = (table[name].to_numpy() for table in (a, b))
        away = np.abs(x - y) / np.maximum(1.0, np.abs(x))
        print(f"  {name}: off by at most {away.max():.1e}, {(away > 0).mean():.1%} differ")
    flags = [table["p_value"].to_numpy() <= _FPR for table in (a, b)]
    print(f"  decisions that differ: {(flags[0] != flags[1]).sum()} of {len(a):,}", flush=True)
    return bool(a.equals(b))


def killed_and_resumed(bundle: Path, images: Path, provider: str, folder: Path) -> None:
    """Kill a scoring job when a third of its parts are there, start it again, and compare with the one left alone."""
    whole, output = folder / "scored", folder / "killed"
    words = [sys.executable, "-m", "jobs.score", *scoring(bundle, images, output, provider)[1:]]
    units = len(list((whole / "scores").glob("part-*.parquet")))
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while process.poll() is None and len(list((output / "scores").glob("part-*.parquet"))) < units / 3:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    left = len(list((output / "scores").glob("part-*.parquet")))
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL)
    print(f"killed with {left} of {units} parts done, and resumed on {provider}; beside the one left alone:")
    print(f"  equal to the last bit: {compare(whole, output)}", flush=True)


def vae(command: str, *words: str) -> None:
    """Run a command; its output is shown if it fails."""
    done = subprocess.run(
        [sys.executable, "-m", f"jobs.{command}", *words], capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(f"vae {command} {' '.join(words)} failed:\n{done.stdout}\n{done.stderr}")


def _empty(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    return folder


def _rate(output: Path) -> float:
    summary: dict[str, Any] = json.loads((output / "summary.json").read_text())
    last = summary["last_run"]
    print(f"  {last['workers']} workers, start-up {last['startup_seconds']} s, {summary.get('provider', '')}")
    return float(last["rows"] / last["seconds"])


def _scores(folder: Path) -> pa.Table:
    names = ["file", "row", "outlier_score", "p_value"]
    return pq.read_table(folder / "scores", columns=names).sort_by([("file", "ascending"), ("row", "ascending")])


if __name__ == "__main__":
    main()
