"""Images per second of one core, and the share of the extractor, for three sizes of images.

The models are trained for one epoch on 200 images, since only their speed counts. Seconds are those of the processor,
so that other load on the machine matters little; the best of several rounds counts (see `measure.per_second`).
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from benchmarks.outliers.settings import read
from benchmarks.photographs.backbone import write_backbone
from benchmarks.photographs.detector import Training
from benchmarks.photographs.measure import per_second
from benchmarks.photographs.ours import make_bundle
from benchmarks.photographs.patches import METHODS as PATCHES
from benchmarks.photographs.settings import write_images
from export.runtime.scorer import Scorer
from export.runtime.session import scoring_session
from export.storage import Folder
from jobs.demo.defects import Images
from jobs.train.run_directory import Run
from vae_core.batch import IMAGE
from vae_core.config import FILTER_BANK, FeatureModelConfig

_IMAGES, _BATCH = 200, 32

Speeds = dict[str, dict[str, float]]
"""By method and size, images per second; `… extractor` of the extractor alone."""


def measure_speeds(data: str, work: Path) -> Speeds:
    """Speeds of ours with either extractor and of the stand-in for PatchCore."""
    speeds: Speeds = {"bank": {}, "lite0": {}, "patchcore": {}}
    for title, images in _sizes(data).items():
        folder = work / f"speed-{title.replace(' ', '-')}"
        folder.mkdir(parents=True, exist_ok=True)
        write_images(folder / "training.parquet", images)
        training = Training((str(folder / "training.parquet"),), 0, folder)
        for name in ("bank", "lite0"):
            whole, extractor = _ours(training, name)
            speeds[name][title] = per_second(whole, images)
            speeds[name][f"{title} extractor"] = per_second(extractor, images)
        detector = PATCHES["patchcore"].fit(training)
        speeds["patchcore"][title] = per_second(detector.rank, images)
    return speeds


def render(speeds: Speeds) -> str:
    """A line for each method and size."""
    lines = ["| images/s of one core | size | whole | extractor alone | share of the extractor | rest ÷ extractor |"]
    lines.append("|---|---|---:|---:|---:|---:|")
    for method, by_size in speeds.items():
        for title in (title for title in by_size if not title.endswith("extractor")):
            whole, extractor = by_size[title], by_size.get(f"{title} extractor", 0.0)
            shares = f"{extractor:,.0f} | {whole / extractor:.0%} | {extractor / whole - 1:.2f}" if extractor else "| |"
            lines.append(f"| {method} | {title} | {whole:,.0f} | {shares} |")
    return "\n".join(lines)


def _sizes(data: str) -> dict[str, Images]:
    wood = read(f"{data}/wood128_train.parquet")[:_IMAGES]
    large = np.stack([cv2.resize(np.ascontiguousarray(image.transpose(1, 2, 0)), (224, 224)) for image in wood])
    return {
        "64×64 grey": read(f"{data}/brick64_train.parquet")[:_IMAGES],
        "128×128 RGB": wood,
        "224×224 RGB": np.ascontiguousarray(large.transpose(0, 3, 1, 2)),
    }


def _ours(training: Training, name: str) -> tuple[Callable[[Images], object], Callable[[Images], object]]:
    """Functions that score and that only extract."""
    recipe = training.recipe("features")
    assert isinstance(recipe.model, FeatureModelConfig)
    file = write_backbone(training.folder.parent / "backbones", training.shape) if name == "lite0" else FILTER_BANK
    model, brief = replace(recipe.model, backbone=file), replace(recipe.train, epochs=1)
    scorer = Scorer(str(make_bundle(training, replace(recipe, model=model, train=brief), name)), batch_size=_BATCH)
    content = Run(Folder.at(str(training.folder / f"{name}-run"))).read_extractor()
    assert content is not None
    session = scoring_session(content)
    return scorer.score, lambda images: session.run_batched({IMAGE: images}, _BATCH)
