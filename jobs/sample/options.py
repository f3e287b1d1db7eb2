"""Options of `vae sample`."""

import math
from dataclasses import dataclass
from typing import Literal

from jobs.bulk import BundleOptions, InferenceOptions
from vae_core.errors import UserError

Format = Literal["parquet", "png"]


@dataclass(frozen=True, kw_only=True)
class SampleOptions(BundleOptions, InferenceOptions):
    """Generate images from a bundle."""

    count: int
    """Number of images."""

    output: str
    """Output folder, a path or URL: empty, or an unfinished job to resume."""

    seed: int = 0
    """Random seed, at least 0."""

    format: Format = "parquet"
    """`parquet` files in the format of the `datasets` library, or one `png` file per image."""

    draw: bool = False
    """Draw pixels from p(x|z), including the noise of the likelihood; otherwise images are its means."""

    temperature: float = 1.0
    """Scale of the prior's noise. Below 1, samples are nearer to what is typical, and less varied."""

    label: str | None = None
    """Draw images of one class, by its name or value; the bundle needs classes: see `vae train --label`. Without, each
    image's class is drawn, too; both write a column `label`."""

    unit_rows: int | None = None
    """Images per unit of work; default 1/64 of all, at least 256 and at most 4,096."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.count < 1:
            raise UserError(f"--count must be at least 1, got {self.count}")
        if not 0 <= self.seed < 2**63:
            raise UserError(f"--seed must lie between 0 and 2^63 − 1, got {self.seed}")
        if not 0.0 < self.temperature < math.inf:
            raise UserError(f"--temperature must be a positive number, got {self.temperature:g}")
        if self.unit_rows is not None and self.unit_rows < 1:
            raise UserError(f"--unit-rows must be at least 1, got {self.unit_rows}")
