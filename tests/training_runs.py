"""Small training runs without Ray, for tests."""

from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch

from bundles import pictures
from export.extractors.build import Extractor, open_extractor
from export.images.contract import ImageContract
from export.storage import Folder
from jobs.images.image_set import ImageSet
from jobs.images.source import find_images
from jobs.train.loop import Work
from jobs.train.options import TrainOptions
from jobs.train.run_directory import Run
from jobs.train.splits import make_splits
from vae_core import checkpoint
from vae_core.config import ModelConfig, TrainConfig, to_json
from vae_core.models.conv.config import ConvConfig
from vae_core.models.features.config import FeaturesConfig

SHAPE = (1, 12, 10)
MODEL = ConvConfig(image_shape=SHAPE, latent_dim=3, widths=(4, 8), hidden=8)
FEATURES = FeaturesConfig(image_shape=SHAPE, latent_channels=2, width=8)


def write_images(path: Path, count: int = 300, row_group_size: int = 64) -> Path:
    """Images of blobs in the packed layout."""
    images = pictures(count, SHAPE)
    array = pa.FixedSizeBinaryArray.from_buffers(pa.binary(120), count, [None, pa.py_buffer(images)])
    table = pa.table({"image": array}).replace_schema_metadata({"vae.shape": "[1, 12, 10]"})
    pq.write_table(table, path, row_group_size=row_group_size)
    return path


def config(**options: Any) -> TrainConfig:
    """A schedule of three epochs of seven steps on 300 images."""
    return TrainConfig(**{"epochs": 3, "batch_size": 32, "warmup_steps": 5, "importance_samples": 4, **options})


@cache
def extractor() -> Extractor:
    """The extractor of `FEATURES`."""
    return open_extractor(FEATURES)


@cache
def whitened() -> bytes:
    """Its graph image → features, whitened over 200 pictures."""
    return extractor().whitened(pictures(200, SHAPE))


CPU = torch.device("cpu")


class Stop(Exception):
    """Simulates a crash."""


def ignore(metrics: dict[str, Any]) -> None:
    """Reports nowhere."""


def start(folder: Path, images: ImageSet, train: TrainConfig, features: bool = False) -> Work:
    """A run directory after setup, and the input of its workers: of `MODEL`, or of `FEATURES`."""
    run = Run(Folder.at(folder))
    make_splits(run, images, ImageContract(*SHAPE), train)
    model: ModelConfig = MODEL
    if features:
        model = extractor().config
        run.write_extractor(whitened())
    run.write_head({"model": to_json(model), "train": to_json(train), "data": {"name": "blobs", "rows": images.rows}})
    options = TrainOptions(images=(), run=str(folder), model=model, train=train, checkpoint_minutes=1e-9)
    return Work(options, images.pieces)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    """The averaged weights in the last checkpoint of the run."""
    files = Run.open(str(folder)).read_checkpoint("last")
    assert files is not None
    return dict(checkpoint.load_model(files).named_parameters())


def found(path: Path) -> ImageSet:
    """The images at a path."""
    return find_images([str(path)])
