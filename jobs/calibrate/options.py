"""Options of `vae calibrate`."""

from dataclasses import dataclass

from export.runtime.device import Provider
from export.tiling import check_tile
from jobs.bulk import BundleOptions
from jobs.images.options import ColumnOptions
from vae_core.errors import UserError


@dataclass(frozen=True, kw_only=True)
class CalibrateOptions(ColumnOptions, BundleOptions):
    """Recalibrate a bundle's p-values on your own clean images."""

    images: tuple[str, ...]
    """Files, folders, patterns or URLs of clean images from the distribution to be scored, not used in training."""

    output: str
    """Output folder of the new bundle, a path or URL: new or empty."""

    per_class: str | None = None
    """Column of the images that names the class of each, integers or text, for `vae score --per-class`."""

    review: str | None = None
    """List of outliers to remove from the images: all that you found among the `--judged` highest scores, and no other
    image. A CSV file with the columns `file` and `row`, as the report of `vae score` exports it, or one path a line."""

    judged: int | None = None
    """With `--review`: how many images you have judged, those with the highest scores, without leaving any out."""
    tile: int | None = None
    """Score whole images by square tiles of so many pixels a side, those of the model's images: an image is as outlying
    as its worst tile, and its p-value is among whole images. The calibration images then have any sizes from that of a
    tile up. The new bundle keeps it, as does one calibrated from it again."""

    overlap: int = 0
    """Pixels that neighbouring tiles share, with `--tile`."""

    resize: bool = False
    """Letterbox images of another size and convert other channel counts; otherwise they are left out. A bundle whose
    training images were letterboxed does so always. Images that are cut into tiles keep their size."""

    provider: Provider = "auto"
    """ONNX Runtime provider, as in `vae score`. If scoring later uses another provider, the two are compared first."""

    def __post_init__(self) -> None:
        if (self.review is None) != (self.judged is None):
            raise UserError(
                "--review and --judged must be given together: the outliers, and how many of the highest scores were "
                "judged to find them"
            )
        if self.judged is not None and self.judged < 1:
            raise UserError(f"--judged must be at least 1, got {self.judged}")
        check_tile(self.tile, self.overlap)
