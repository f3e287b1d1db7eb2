"""Options of `vae score`."""

from dataclasses import dataclass

from jobs.bulk import InferenceOptions
from vae_core.errors import UserError

SHOWN = 48  # explained images in the report's gallery


@dataclass(frozen=True, kw_only=True)
class ScoreOptions(InferenceOptions):
    """Score images for outliers with a bundle."""

    bundle: str
    """The bundle, made by `vae export`: a path or a URL."""

    images: tuple[str, ...]
    """Files, folders, patterns or URLs of images."""

    output: str
    """The folder, or the URL of one, that takes the scores: empty, or this very job's, which then goes on."""

    key: str | None = None
    """A column of the images that identifies a row; it stands beside `file` and `row` in scores and errors."""

    keep: tuple[str, ...] = ()
    """Columns of the images to carry over."""

    likelihood: bool = False
    """Also estimate log p(x), which costs many decodes per image: elbo, log_px and effective_samples in nats."""

    resize: bool = False
    """Convert images of another size or channel count, instead of leaving them out as errors."""

    fpr: float = 0.01
    """False positive rate of `is_outlier`: the share of ordinary images that is flagged."""

    fdr: float = 0.1
    """False discovery rate of discoveries.parquet: the share of ordinary images among those flagged."""

    tail: bool = False
    """Also give p-values below the 1/(n + 1) of n calibration images, in the columns `p_value_tail` and, for a 95%
    interval of its estimation error, `p_value_tail_low` and `p_value_tail_high`. They come from a model, a generalised
    Pareto tail, without the guarantee of `p_value`; outliers and discoveries do not use them."""

    explain: int = SHOWN
    """Most outlying images to explain, in explanations.parquet and, the first of them, in the report; 0 for none."""

    unit_rows: int | None = None
    """About how many rows a worker takes at once; by default a 64th of all, between 1,024 and 32,768."""

    batch_size: int = 128
    """Images per run of the network. It changes memory and speed, not scores."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("fpr", "fdr"):
            if not 0 < getattr(self, name) < 1:
                raise UserError(f"--{name} {getattr(self, name)} is not possible: it must lie between 0 and 1")
        for name, least in (("unit_rows", 1), ("batch_size", 1), ("explain", 0)):
            if (value := getattr(self, name)) is not None and value < least:
                raise UserError(f"--{name.replace('_', '-')} {value} is not possible: it must be at least {least}")
