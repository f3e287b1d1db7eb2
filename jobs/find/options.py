"""Options of `vae find`."""

from dataclasses import dataclass

from jobs.bulk import InferenceOptions
from jobs.images.options import ColumnOptions
from vae_core.config import LARGEST_SIDE, SMALLEST_SIDE
from vae_core.errors import UserError

SHOWN = 48  # explained images in the report
MOST_SHOWN = 10_000  # images in the gallery
MOST_FOLDS = 10


@dataclass(frozen=True, kw_only=True)
class FindOptions(ColumnOptions, InferenceOptions):
    """Find the images of a folder that do not belong there.

    None need to be known as ordinary: every image is scored by a model that was trained on other images.
    """

    images: tuple[str, ...]
    """Files, folders, patterns or URLs of images: most of them ordinary, some perhaps not."""

    output: str
    """Output folder, a path or URL: empty, or an unfinished job to resume."""

    clean: tuple[str, ...] = ()
    """Images that are all ordinary, if you have them. One model is then trained on these alone and scores `--images`
    as `vae score` does, whose p-values and false discovery rate hold."""

    key: str | None = None
    """Input column that identifies a row; copied to scores and errors, beside `file` and `row`."""

    keep: tuple[str, ...] = ()
    """Further input columns to copy to scores and errors."""

    size: int | None = None
    """Letterbox every image to SIZE×SIZE pixels; default chosen by the images' sizes, and printed."""

    recipe: str | None = None
    """The recipe of the models: one that ships with the package, or a TOML file; default features, or features-few
    where a model has fewer than 1,000 images."""

    backbone: str | None = None
    """An ONNX file of a pretrained network, or torchvision:NAME, in place of the built-in filter bank."""

    folds: int | None = None
    """Parts of the images; each is scored by a model trained on the others. Default 2, or 4 of fewer than 2,000
    images."""

    trim: float = 0.1
    """Share of the training images, those with the highest outlier scores of a first model, that the second and final
    one is not trained on: about twice the share of outliers that you expect. 0: no second model."""

    fpr: float = 0.01
    """False positive rate of `is_outlier`: the share of ordinary images that are flagged."""

    fdr: float | None = None
    """With --clean: the false discovery rate of discoveries.parquet, default 0.1."""

    explain: int = SHOWN
    """Number of most outlying images to explain in explanations.parquet. 0 for none."""

    gallery: int = 1000
    """Number of most outlying images to show in the report, at most 10,000. 0 for none."""

    epochs: int | None = None
    """Passes over the training images; default those of the recipe, or more for few images."""

    seed: int = 0
    """Seed of the models and of which image is in which fold."""

    train_workers: int | None = None
    """Training workers; default one per GPU, or one on the CPU."""

    batch_size: int = 128
    """Images per run of the network when scoring. Affects memory and speed, not scores."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("fpr", "fdr"):
            if (value := getattr(self, name)) is not None and not 0 < value < 1:
                raise UserError(f"--{name} must lie between 0 and 1, got {value}")
        if self.fdr is not None and not self.clean:
            raise UserError(
                f"--fdr requires --clean, got --fdr {self.fdr:g}: without images that are known to be ordinary no "
                "false discovery rate holds; omit it"
            )
        if not 0 <= self.trim <= 0.5:
            raise UserError(f"--trim must be 0 to 0.5, got {self.trim}")
        if self.folds is not None and not 2 <= self.folds <= MOST_FOLDS:
            raise UserError(f"--folds must be 2 to {MOST_FOLDS}, got {self.folds}")
        if self.size is not None and not SMALLEST_SIDE <= self.size <= LARGEST_SIDE:
            raise UserError(f"--size must be {SMALLEST_SIDE} to {LARGEST_SIDE} pixels, got {self.size}")
        if self.gallery > MOST_SHOWN:
            raise UserError(f"--gallery must be at most {MOST_SHOWN:,}, got {self.gallery:,}")
        least_values = {"explain": 0, "gallery": 0, "epochs": 1, "train_workers": 1, "batch_size": 1, "seed": 0}
        for name, least in least_values.items():
            if (value := getattr(self, name)) is not None and value < least:
                raise UserError(f"--{name.replace('_', '-')} must be at least {least}, got {value}")
