"""Options of `vae train`."""

import dataclasses
from dataclasses import dataclass
from typing import Generic, TypeVar

from export.runtime.device import Provider
from jobs.images.options import ColumnOptions
from vae_core.config import LARGEST_SIDE, SMALLEST_SIDE, ModelConfig, TrainConfig
from vae_core.errors import UserError

M = TypeVar("M", bound=ModelConfig)


@dataclass(frozen=True, kw_only=True)
class TrainOptions(ColumnOptions, Generic[M]):
    """Train a variational autoencoder on images; rerun the same command to resume."""

    images: tuple[str, ...]
    """Files, folders, patterns or URLs of the training images."""
    run: str
    """Folder of the run, a path or URL: new, or a run to resume."""
    recipe: str | None = None
    """A recipe that ships with the package, or a TOML file; other options override it."""
    data: str | None = None
    """Name of the training images in the model card; default the names of their files and folders."""
    workers: int | None = None
    """Training workers; default one per GPU, or one on the CPU."""
    device: Provider = "auto"
    """`cpu`, `cuda` with one GPU per worker, or `auto`: GPUs if the cluster has any."""
    cpus_per_worker: int | None = None
    """CPUs, hence torch threads, per worker; default one on a shared cluster, or an equal share of a local one."""
    size: int | None = None
    """Letterbox every image to SIZE×SIZE pixels and convert it to the channels of most; default the shape of most."""
    resize: bool = False
    """Letterbox images of another size to that of most, and convert other channel counts; otherwise they are left out.
    """
    allow_dropped: bool = False
    """Train although more than 2% of the images are left out, because they are of another shape or cannot be read."""
    label: str | None = None
    """Column of the images' classes, integers or text; rows may lack one. The bundle then has p(x, y): it tells which
    class an image is of and which labels look wrong, and samples by class. See also `class_weight`."""
    region: str | None = None
    """An image file as large as the images: pixels where it is zero count for nothing. The bundle's graphs replace them
    by a constant, as training does, so no score depends on them, and maps are zero there."""
    address: str | None = None
    """Address of the Ray cluster; default RAY_ADDRESS, or a local cluster started for the run."""
    cache_gigabytes: float = 4.0
    """Decoded images that each worker keeps in memory; a larger share is read again each epoch."""
    checkpoint_minutes: float = 10.0
    """Minutes between checkpoints within an epoch; one is always written at its end."""
    mlflow: str | None = None
    """URI of an MLflow tracking server, http://HOST:PORT: log configuration and epochs there."""
    model: M
    train: TrainConfig = dataclasses.field(default_factory=TrainConfig)

    def __post_init__(self) -> None:
        if self.size is not None and not SMALLEST_SIDE <= self.size <= LARGEST_SIDE:
            raise UserError(f"--size must be {SMALLEST_SIDE} to {LARGEST_SIDE} pixels, got {self.size}")
        if self.size is not None and self.model.image_shape != (0, 0, 0):
            raise UserError("--size must be left out with --image-shape, which gives the size as well")
        if not self.checkpoint_minutes > 0:
            raise UserError(f"--checkpoint-minutes must be greater than 0, got {self.checkpoint_minutes:g}")
