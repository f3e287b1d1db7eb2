"""Options of `vae score`."""

from dataclasses import dataclass
from typing import Literal

from jobs.bulk import BundleOptions, InferenceOptions
from jobs.images.options import ColumnOptions
from jobs.likelihood.columns import EstimatorName
from vae_core.errors import UserError

SHOWN = 48  # explained images in the report

Guarantee = Literal["marginal", "conditional"]


@dataclass(frozen=True, kw_only=True)
class ScoreOptions(ColumnOptions, BundleOptions, InferenceOptions):
    """Score images for outliers with a bundle."""

    images: tuple[str, ...]
    """Files, folders, patterns or URLs of images."""

    output: str
    """Output folder, a path or URL: empty, or an unfinished job to resume."""

    key: str | None = None
    """Input column that identifies a row; copied to scores and errors, beside `file` and `row`."""

    keep: tuple[str, ...] = ()
    """Further input columns to copy to scores and errors."""

    likelihood: tuple[EstimatorName, ...] = ()
    """Also estimate log p(x), in nats, by one or more estimators: `elbo`; `importance` sampling from the encoder's
    posterior; `monte-carlo` from the prior; `refined`, importance sampling from Gaussians fitted to each image; and
    `annealed`, the most reliable. Every column begins with its estimator's name."""

    samples: int = 100
    """Samples per estimate by elbo, importance and monte-carlo; refined takes up to some 600 decodes with 32 latent
    variables, annealed some 12,000."""

    chains: int = 16
    """Chains of `annealed` for each image."""

    temperatures: int = 100
    """Distributions that each chain of `annealed` goes through, between the fitted Gaussians and the posterior."""

    seed: int = 0
    """Seed of the estimates' noise."""

    classes: bool = False
    """Also tell which class an image is of: `predicted_label`, `confidence`, `class_probability`, `log_px_class`, and
    `label_set`, which has the right label with probability `--coverage` in every class. The bundle needs classes: see
    `vae train --label`."""

    label: str | None = None
    """Input column of labels: as `--classes`, and how plausible each label is: `label_p_value`, `label_rank`,
    `label_margin`, `label_p_value_class`, and mislabelled.parquet, the labels that are wrong at `--fdr`."""

    coverage: float = 0.9
    """Probability that `label_set` has the right label."""

    resize: bool = False
    """Letterbox images of another size and convert other channel counts; otherwise they are left out. A bundle whose
    training images were letterboxed does so always."""

    tile: int | None = None
    """Side in pixels of the tiles of whole images, as of `vae calibrate --tile`. A bundle calibrated on tiles has it
    already: another number is refused."""

    overlap: int | None = None
    """Pixels that neighbouring tiles share, as of `vae calibrate --overlap`."""

    fpr: float = 0.01
    """False positive rate of `is_outlier`: the share of inliers that are flagged."""

    fdr: float = 0.1
    """False discovery rate of discoveries.parquet: the expected share of inliers among the discoveries."""

    guarantee: Guarantee = "marginal"
    """What rates hold for. `marginal`: on average over calibration sets. `conditional`: for the calibration set at hand
    and every threshold, with `--confidence`; adds `p_value_conditional`, which outliers and discoveries then use."""

    confidence: float = 0.9
    """Confidence of `--guarantee conditional`, and of the bound on the number of false discoveries."""

    per_class: str | None = None
    """Input column of classes, integers or text: compare each image with the calibration images of its own class. Adds
    `p_value_class`, which outliers and discoveries then use, and `class_status`. The bundle needs classes: see
    `vae calibrate --per-class`."""

    storey: bool = False
    """Estimate the share of inliers among the images (Storey's estimate) and test with it: more discoveries at the same
    `--fdr` where outliers are many."""

    tail: bool = False
    """Also extrapolate p-values below 1/(n + 1), the smallest with n calibration images: `p_value_tail`, and a 95%
    interval of its estimation error, `p_value_tail_low` to `p_value_tail_high`. They come from a model, a generalised
    Pareto tail, without the guarantee of `p_value`; outliers and discoveries do not use them."""

    missed: str | None = None
    """List of images among these that you know to be outliers: where they rank, at which `--fpr` and `--fdr` they would
    be found, and what is unusual about them. A CSV file with the columns `file` and `row`, or one path a line."""

    explain: int = SHOWN
    """Number of most outlying images to explain in explanations.parquet; the report shows the first 48. 0 for none."""

    gallery: int = 10_000
    """Number of flagged images to show in the report, the most outlying, at most 10,000; they are read once more. 0 for
    none. outliers.csv has up to 100,000 in any case."""

    unit_rows: int | None = None
    """Approximate rows per unit of work; default 1/64 of all, at least 1,024 and at most 32,768."""

    batch_size: int = 128
    """Images per run of the network. Affects memory and speed, not scores."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("fpr", "fdr", "confidence", "coverage"):
            if not 0 < getattr(self, name) < 1:
                raise UserError(f"--{name} must lie between 0 and 1, got {getattr(self, name)}")
        if self.storey and self.per_class:
            raise UserError(
                "--storey must not be given with --per-class: its rate is proven for one calibration set only"
            )
        if not 0 <= self.seed < 2**63:
            raise UserError(f"--seed must lie between 0 and 2^63 − 1, got {self.seed}")
        if len(set(self.likelihood)) < len(self.likelihood):
            raise UserError(f"--likelihood must name an estimator once, got {' '.join(self.likelihood)}")
        least_values = {
            "unit_rows": 1,
            "batch_size": 1,
            "explain": 0,
            "gallery": 0,
            "samples": 2,
            "chains": 2,
            "temperatures": 1,
        }
        for name, least in least_values.items():
            if (value := getattr(self, name)) is not None and value < least:
                raise UserError(f"--{name.replace('_', '-')} must be at least {least}, got {value}")
        if self.gallery > 10_000:
            raise UserError(f"--gallery must be at most 10,000, got {self.gallery:,}; outliers.csv has more")
