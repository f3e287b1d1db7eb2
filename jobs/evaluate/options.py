"""Options of `vae evaluate`."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from export.runtime.annealing import Annealing
from export.runtime.likelihood import ESTIMATORS
from jobs.bulk import BundleOptions, InferenceOptions
from jobs.images.options import ColumnOptions
from jobs.likelihood.columns import EstimatorName
from vae_core.errors import UserError

LEAST_SAMPLES = 10
"""Samples without which nothing can be said about quality."""


@dataclass(frozen=True, kw_only=True)
class EvaluateOptions(ColumnOptions, BundleOptions, InferenceOptions):
    """Evaluate a bundle on in-distribution test images and on sets of outliers."""

    images: tuple[str, ...]
    """Files, folders, patterns or URLs of in-distribution images not used in training: the test set."""

    outliers: tuple[str, ...] = ()
    """Sets of outliers as NAME=PATH: a name for tables and folders, and a file, folder, pattern or URL of images."""

    masks: tuple[str, ...] = ()
    """Where outliers are defective, for pixel AUROC and AUPRO. Either the column of their tables that holds the masks;
    or, for a set of image files, NAME=FOLDER of mask files with the paths of the images, but for the suffix and a
    `_mask` before it. Nonzero pixels are defective. A mask has the size of its image."""

    output: str
    """Output folder, a path or URL: empty, or an unfinished job to resume."""

    label: str | None = None
    """Column of the test images' classes: how well the bundle predicts them, how calibrated its probabilities are,
    and how often its label sets have the label. The bundle needs classes: see `vae train --label`."""

    coverage: float = 0.9
    """Probability that a label set has the right label."""

    likelihood_images: int = 1000
    """Number of images, drawn at random, on which to estimate the likelihood; 0 for none."""

    estimators: tuple[EstimatorName, ...] = ("elbo", "importance", "monte-carlo", "refined")
    """Estimators of the likelihood: `elbo`; `importance` sampling from the encoder's posterior; `monte-carlo` from the
    prior; `refined`, importance sampling from Gaussians fitted to each image, for a number that is published; and
    `annealed`, the most reliable. The first three decode `samples` latent vectors for each image, elbo and importance
    the same ones."""

    samples: int = 1000
    """Samples per estimate by elbo, importance and monte-carlo. More samples tighten the bound."""

    refined_images: int = 500
    """How many of the likelihood's images, at random, `refined` is for: up to some 600 decodes for each with 32 latent
    variables."""

    annealed_images: int = 20
    """How many of the likelihood's images, at random, `annealed` is for: some 12,000 decodes for each by default."""

    chains: int = 16
    """Chains of `annealed` for each image."""

    temperatures: int = 100
    """Distributions that each chain of `annealed` goes through, between the fitted Gaussians and the posterior."""

    certify: int = 0
    """Check annealing on this many images drawn from the model, where chains in the other direction, from the latent
    vector that the image came from, bound log p(x) from above: the gap between the two bounds is reported."""

    sample_quality: int = 0
    """Compare this many samples of the model, and twice as many test images at random, in a space of features: Fréchet
    distance, precision, recall, density, coverage and sharpness; 0 for none."""

    quality_features: str | None = None
    """Network of these features, an ONNX file: images uint8 [N,C,H,W] → one vector each, or maps [N,F,h,w], which are
    averaged; default the built-in filter bank."""

    seed: int = 0
    """Seed of the estimates' noise, of samples, of the choice of images for them, and of the bootstrap."""

    fpr: float = 0.01
    """False positive rate at which to report the true positive rate."""

    resize: bool = False
    """Letterbox images of another size and convert other channel counts; otherwise they are left out. A bundle whose
    training images were letterboxed does so always."""

    unit_rows: int | None = None
    """Approximate rows per unit of work; default 1/64 of all, at least 1,024 and at most 32,768."""

    batch_size: int = 128
    """Images per run of the scoring network. Affects memory and speed, not scores."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("fpr", "coverage"):
            if not 0 < getattr(self, name) < 1:
                raise UserError(f"--{name} must lie between 0 and 1, got {getattr(self, name)}")
        if not 0 <= self.seed < 2**63:
            raise UserError(f"--seed must lie between 0 and 2^63 − 1, got {self.seed}")
        if not self.estimators or len(set(self.estimators)) < len(self.estimators):
            raise UserError(
                f"--estimators must name each of {', '.join(ESTIMATORS)} at most once, and at least one, got "
                f"{' '.join(self.estimators) or 'none; for no likelihood give --likelihood-images 0'}"
            )
        least = {"likelihood_images": 0, "samples": 2, "unit_rows": 1, "batch_size": 1}
        least |= {"refined_images": 1, "annealed_images": 1, "chains": 2, "temperatures": 1, "certify": 0}
        least |= {"sample_quality": 0}
        for name, lowest in least.items():
            if (value := getattr(self, name)) is not None and value < lowest:
                raise UserError(f"--{name.replace('_', '-')} must be at least {lowest}, got {value}")
        if 0 < self.sample_quality < LEAST_SAMPLES:
            raise UserError(f"--sample-quality must be 0 or at least {LEAST_SAMPLES}, got {self.sample_quality}")
        if self.quality_features is not None and not self.sample_quality:
            raise UserError("--quality-features requires --sample-quality, got none; give a number of samples")
        self.mask_places()

    @property
    def annealing(self) -> Annealing:
        """The budget of annealed importance sampling."""
        return Annealing(self.chains, self.temperatures)

    def mask_places(self) -> "MaskPlaces":
        """Parse --masks.

        Raises:
            UserError: --outliers or --masks is malformed, or a set is not among the outliers or named twice.
        """
        names = named_paths(self.outliers)
        if self.masks and not names:
            raise UserError("--masks requires --outliers, got none; name the sets of outliers")
        columns, folders = [], dict[str, str]()
        for text in self.masks:
            name, equals, folder = text.partition("=")
            if not equals:
                columns.append(text)
            elif not folder or name not in names:
                raise UserError(
                    f"--masks must be a column, or NAME=FOLDER with the NAME of a set in --outliers "
                    f"({', '.join(names)}), got {text}"
                )
            elif name in folders:
                raise UserError(f"--masks must name each set once, got {name} twice")
            else:
                folders[name] = folder
        if len(columns) > 1:
            raise UserError(f"--masks must name one column at most, got {' and '.join(columns)}")
        return MaskPlaces(columns[0] if columns else None, folders)


class MaskPlaces(NamedTuple):
    """Where masks are."""

    column: str | None  # of the tables of every set that has it
    folders: Mapping[str, str]  # of sets of image files


def named_paths(outliers: Sequence[str]) -> dict[str, str]:
    """Parse sets of outliers, NAME=PATH, into name → path.

    Raises:
        UserError: one is malformed, its name is not a plain folder name, or two names are equal.
    """
    paths: dict[str, str] = {}
    for text in outliers:
        name, equals, path = text.partition("=")
        if not (name and equals and path):
            raise UserError(f"--outliers must have the form NAME=PATH, such as digits=mnist/, got {text}")
        if not re.fullmatch(r"\w[\w.-]*", name):
            raise UserError(
                "the NAME in --outliers NAME=PATH must consist of letters, digits, '.', '_' and '-' and start with a "
                f"letter or digit, got {name}"
            )
        # Some file systems ignore case.
        if name.lower() in map(str.lower, paths):
            raise UserError(f"the names in --outliers must be distinct, got {name} twice")
        paths[name] = path
    return paths
