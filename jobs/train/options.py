"""Options of `vae train`."""

import dataclasses
from dataclasses import dataclass
from typing import Annotated, Generic, TypeVar

import tyro

from export.runtime.device import Provider
from vae_core.config import ModelConfig, TrainConfig
from vae_core.errors import UserError

M = TypeVar("M", bound=ModelConfig)


@dataclass(frozen=True, kw_only=True)
class TrainOptions(Generic[M]):
    """Train a variational autoencoder on images; the same command continues an interrupted run."""

    images: tuple[str, ...]
    """Files, folders, patterns or URLs of the training images."""
    run: str
    """Directory or URL of the run: new, or one to continue."""
    recipe: str | None = None
    """A recipe that ships with the package, or a TOML file; flags override what it says."""
    data: str | None = None
    """What the model card calls the training images; by default the names of their files and folders."""
    workers: int | None = None
    """Training workers; by default one per GPU, or one on the CPU."""
    device: Provider = "auto"
    """What the workers compute with: `cpu`, `cuda` with a GPU for each worker, or `auto`: GPUs if the cluster has
    any."""
    cpus_per_worker: int | None = None
    """CPUs, and so torch threads, of each worker; by default one on a shared cluster, and an equal part of a cluster
    started here."""
    resize: bool = False
    """Convert images of another size or channel count instead of leaving them out."""
    address: str | None = None
    """The Ray cluster to run on; RAY_ADDRESS by default, or a local one started for the run."""
    cache_gigabytes: float = 4.0
    """Decoded images that each worker keeps in memory; a larger share is read anew each epoch."""
    checkpoint_minutes: float = 10.0
    """Minutes between checkpoints inside an epoch; one is always written at its end."""
    model: Annotated[M, tyro.conf.arg(name="")]
    train: Annotated[TrainConfig, tyro.conf.arg(name="")] = dataclasses.field(default_factory=TrainConfig)

    def __post_init__(self) -> None:
        if not self.checkpoint_minutes > 0:
            raise UserError(f"--checkpoint-minutes must be more than 0, got {self.checkpoint_minutes:g}")
