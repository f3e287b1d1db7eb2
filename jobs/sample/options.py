"""Options of `vae sample`."""

from dataclasses import dataclass
from typing import Literal

from jobs.bulk import InferenceOptions
from vae_core.errors import UserError

Format = Literal["parquet", "png"]


@dataclass(frozen=True, kw_only=True)
class SampleOptions(InferenceOptions):
    """Generate a corpus of images with a bundle."""

    bundle: str
    """The bundle, made by `vae export`: a path or a URL."""

    count: int
    """How many images."""

    output: str
    """The folder, or the URL of one, that takes the corpus: empty, or this very job's, which then goes on."""

    seed: int = 0
    """Of the corpus, from 0: another seed gives other images."""

    format: Format = "parquet"
    """Parquet files as the `datasets` library reads them, or a PNG file per image."""

    draw: bool = False
    """Draw every pixel from p(x|z), instead of taking its mean: with the noise of the likelihood."""

    unit_rows: int | None = None
    """How many images a worker takes at once; by default a 64th of all, between 256 and 4,096."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.count < 1:
            raise UserError(f"--count {self.count} is not possible: it must be at least 1")
        if not 0 <= self.seed < 2**63:
            raise UserError(f"--seed {self.seed} is not possible: it must be from 0 up to 2^63 − 1")
        if self.unit_rows is not None and self.unit_rows < 1:
            raise UserError(f"--unit-rows {self.unit_rows} is not possible: it must be at least 1")
