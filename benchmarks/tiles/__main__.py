"""Large photographs with small defects, by tiles: detection, false alarms among whole images, memory and speed.

    apt-get download mate-backgrounds plasma-workspace-wallpapers
    for package in *.deb; do dpkg -x $package FOLDER; done
    python -m benchmarks.tiles --photographs FOLDER
    python -m benchmarks.tiles --only leather

A model of features is trained on the tiles of `vae prepare --tile`, exported, calibrated on whole images with
`vae calibrate --tile`, and evaluated with `vae evaluate --masks` in a process of one worker, whose peak memory is
measured. Settings are those of `photographs`: `wood` and `leather` are surfaces, `scenes` eight photographs in one
model. Images have 1024×768 pixels; with --large some of 8000×2000 follow, with a calibration of their own. The results
are printed and written to build/bench/tiles.json; models are kept in --work.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import pyarrow.parquet as pq
import torch
import tyro
from scipy.stats import beta, betabinom
from threadpoolctl import threadpool_limits

from benchmarks.photographs.detector import Training
from benchmarks.photographs.ours import make_bundle
from benchmarks.results import RESULTS, machine
from benchmarks.tiles.defects import KINDS, paste
from benchmarks.tiles.photographs import SCENES, Picture, Source, open_source
from export.bundle.format import Bundle
from export.tiling import Tiling
from jobs.calibrate.job import calibrate
from jobs.calibrate.options import CalibrateOptions
from jobs.evaluate.detection import auroc
from jobs.prepare.job import prepare
from jobs.prepare.options import PrepareOptions
from vae_core.errors import UserError

TILE, OVERLAP = 64, 16
_ENOUGH = 5000  # tiles to train on: the least overlap is chosen that gives as many
_OVERLAPS = (0, 16, 32, 48, 56)
_FPR = 0.05


class Scale(NamedTuple):
    """The size of images, and how many there are."""

    height: int
    width: int
    calibration: int
    test: int
    defects: int

    def __str__(self) -> str:
        return f"{self.width}×{self.height}"


@dataclass(frozen=True)
class Options:
    """Score large photographs with small defects by tiles."""

    photographs: Path | None = None
    """Where Debian's packages are unpacked; / if they are installed."""
    only: tuple[str, ...] = ()
    """Settings: wood, scenes, leather; default wood and scenes with --photographs, else leather."""
    calibration: int = 300
    """Ordinary images to calibrate with."""
    test: int = 200
    """Ordinary images to test."""
    defects: int = 120
    """Images with a defect, as many of each kind."""
    large: int = 0
    """Images of 8000×2000 to calibrate with; a third as many ordinary ones and as many with a defect are tested."""
    seed: int = 0
    """Of the images and of training."""
    work: Path = RESULTS / "tiles"
    """Folder of the models and images."""


def main(argv: Sequence[str] | None = None) -> None:
    options = tyro.cli(Options, args=argv)
    torch.set_num_threads(1)
    names = options.only or (tuple(SCENES) if options.photographs else ("leather",))
    if unknown := [name for name in names if name not in (*SCENES, "leather")]:
        sys.exit(f"--only must be among {', '.join(SCENES)} and leather, got {unknown[0]}")
    found = {}
    try:
        with threadpool_limits(1):
            for name in names:
                found[name] = run(name, options)
    except UserError as error:
        sys.exit(str(error))
    RESULTS.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"benchmark": "tiles", "machine": machine(), "settings": found}, indent=2, default=str)
    (RESULTS / "tiles.json").write_text(text + "\n")


def run(name: str, options: Options) -> dict[str, Any]:
    """Train on a setting and test it; print and return what was found."""
    source, folder = open_source(name, options.photographs), options.work.absolute() / f"{name}-{options.seed}"
    bundle = _train(source, folder, options.seed)
    sizes = [Scale(768, 1024, options.calibration, options.test, options.defects)]
    if options.large:
        sizes.append(Scale(2000, 8000, options.large, options.large // 3, options.large // 3))
    found = {}
    for scale in sizes:
        found[str(scale)] = _test(source, bundle, folder / f"{scale.width}x{scale.height}", scale, options.seed)
        _print(f"{name}, {scale}", found[str(scale)])
    return found


def _train(source: Source, folder: Path, seed: int) -> Path:
    photographs = folder / "training"
    for number, picture in enumerate(source.training):
        _write(photographs / f"{number:02}.png", picture)
    overlap = next(each for each in _OVERLAPS if _tiles(source.training, each) >= _ENOUGH)
    tiles = folder / "tiles"
    prepare(PrepareOptions(source=(str(photographs),), output=str(tiles), tile=TILE, overlap=overlap, engine="local"))
    training = Training((str(tiles),), seed, folder)
    began, timing = time.monotonic(), folder / "seconds.txt"
    bundle = make_bundle(training, training.recipe("features"), "features")
    if not timing.exists():
        timing.write_text(f"{time.monotonic() - began:.0f}")
    print(f"{_tiles(source.training, overlap):,} tiles, trained and exported in {timing.read_text()} s", flush=True)
    return bundle


def _tiles(pictures: Sequence[Picture], overlap: int) -> int:
    tiling = Tiling(TILE, TILE, overlap)
    return sum(len(tiling.places(*picture.shape[:2])) for picture in pictures)


def _test(source: Source, bundle: Path, folder: Path, scale: Scale, seed: int) -> dict[str, Any]:
    """Calibrate on whole images of a size, then score ordinary ones and others with a defect."""
    calibrated, output = folder / "bundle", folder / "evaluation"
    for part, (name, count) in enumerate(zip(("calibration", "test", "defects"), scale[2:], strict=True)):
        for number in range(count):
            generator = np.random.default_rng([seed, scale.height, part, number])
            picture, file = source.draw(scale.height, scale.width, generator), f"{number:04}.png"
            if name == "defects":
                kind = list(KINDS)[number % len(KINDS)]
                picture, mask = paste(kind, picture, source.piece, generator)
                file = f"{kind}-{file}"
                _write(folder / "masks" / file, 255 * mask.astype(np.uint8))
            _write(folder / name / file, picture)
    if not (calibrated / "manifest.json").exists():
        images = (str(folder / "calibration"),)
        calibrate(
            CalibrateOptions(
                bundle=str(bundle), images=images, output=str(calibrated), tile=TILE, overlap=OVERLAP, provider="cpu"
            )
        )
    command = [sys.executable, "-m", "jobs.evaluate", "--bundle", str(calibrated), "--images", str(folder / "test")]
    command += ["--outliers", f"defects={folder}/defects", "--masks", f"defects={folder}/masks"]
    command += ["--output", str(output)]
    command += ["--engine", "local", "--workers", "1", "--provider", "cpu", "--fpr", str(_FPR)]
    peak = _peak_memory(command)
    found = _describe(output, len(Bundle.open(str(calibrated)).calibration_scores))
    return found | {"peak_memory_gb": peak}


def _peak_memory(command: Sequence[str]) -> float:
    """Run a command; the largest resident memory that its process had, in GB."""
    process = subprocess.Popen(command)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{' '.join(command)} failed")
    return usage.ru_maxrss * 1024 / 1e9


def _describe(output: Path, calibration: int) -> dict[str, Any]:
    metrics = json.loads((output / "metrics.json").read_text())
    outliers = metrics["outliers"]["defects"]
    scores = {part: _scores(output / part / "scores") for part in ("images", "outliers/defects")}
    ordinary = np.array(list(scores["images"].values()))
    by_kind = {
        kind: auroc(ordinary, np.array([s for file, s in scores["outliers/defects"].items() if kind in file]))
        for kind in KINDS
    }
    summary = json.loads((output / "images/summary.json").read_text())
    flagged, tested = summary["outliers"], summary["scored"]
    rank = int(_FPR * (calibration + 1))
    return {
        "image_auroc": outliers["outlier_score"]["auroc"],
        "image_auroc_of_kinds": by_kind,
        "tpr": outliers["tpr_at_fpr"],
        "pixel_auroc": outliers["pixels"]["auroc"]["value"],
        "aupro_to_30_fpr": outliers["pixels"]["aupro_to_30_fpr"]["value"],
        "flagged": flagged,
        "tested": tested,
        "false_positive_rate": flagged / tested,
        "exact_interval": [
            float(beta.ppf(0.025, flagged, tested - flagged + 1)) if flagged else 0.0,
            float(beta.ppf(0.975, flagged + 1, tested - flagged)) if flagged < tested else 1.0,
        ],
        # Of exchangeable images, as many are flagged with a probability of 95%.
        "expected_flagged": betabinom.interval(0.95, tested, rank, calibration + 1 - rank),
        "calibration": calibration,
        "images_per_second": summary["last_run"]["rows"] / summary["last_run"]["seconds"],
    }


def _scores(parts: Path) -> dict[str, float]:
    table = pq.read_table(parts)
    return dict(zip(table["file"].to_pylist(), table["outlier_score"].to_pylist(), strict=True))


def _print(title: str, found: dict[str, Any]) -> None:
    area, (low, high) = found["image_auroc"], found["exact_interval"]
    kinds = ", ".join(f"{kind} {value:.3f}" for kind, value in found["image_auroc_of_kinds"].items())
    least, most = found["expected_flagged"]
    print(f"{title}:")
    print(f"  image AUROC {area['value']:.4f} [{area['low']:.4f}, {area['high']:.4f}]: {kinds}")
    print(f"  found at a false positive rate of {_FPR:g}: {found['tpr']['value']:.3f}")
    print(f"  pixel AUROC {found['pixel_auroc']:.4f}, AUPRO to 30% FPR {found['aupro_to_30_fpr']:.4f}")
    print(
        f"  flagged {found['flagged']} of {found['tested']} ordinary images, {found['false_positive_rate']:.3f} "
        f"[{low:.3f}, {high:.3f}]; {least:.0f} to {most:.0f} expected with {found['calibration']} calibration images"
    )
    print(
        f"  {found['images_per_second']:.2f} images per second, peak memory {found['peak_memory_gb']:.2f} GB",
        flush=True,
    )


def _write(file: Path, picture: np.ndarray) -> None:
    """Write a grey or RGB image as PNG, unless it is there."""
    if file.exists():
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    pixels = picture[..., ::-1] if picture.ndim == 3 else picture
    cv2.imwrite(str(file), np.ascontiguousarray(pixels), [cv2.IMWRITE_PNG_COMPRESSION, 1])


if __name__ == "__main__":
    main()
