"""What `vae evaluate` is asked: its options, and the names of the sets of outliers."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from jobs.bulk import InferenceOptions
from vae_core.errors import UserError


@dataclass(frozen=True, kw_only=True)
class EvaluateOptions(InferenceOptions):
    """Evaluate a bundle on images that it should know and on outliers."""

    bundle: str
    """The bundle, made by `vae export`: a path or a URL."""

    images: tuple[str, ...]
    """Files, folders, patterns or URLs of ordinary images that took no part in training: a test set."""

    outliers: tuple[str, ...] = ()
    """Sets of outliers as NAME=PATH: a name for tables and folders, and a file, folder, pattern or URL of images."""

    output: str
    """The folder, or the URL of one, that takes the results: empty, or this very job's, which then goes on."""

    likelihood_images: int = 1000
    """Of how many of the images, drawn at random, the likelihood is estimated; 0 for none. It is costly: each is
    decoded twice as often as there are samples."""

    samples: int = 1000
    """Samples of an estimate of log p(x). The more there are, the closer its bound comes."""

    seed: int = 0
    """Of the estimates' noise, of which images are drawn for them, and of the bootstrap."""

    fpr: float = 0.01
    """False positive rate at which the share of outliers found is told."""

    resize: bool = False
    """Convert images of another size or channel count, instead of leaving them out as errors."""

    unit_rows: int | None = None
    """About how many rows a worker scores at once; by default a 64th of all, between 1,024 and 32,768."""

    batch_size: int = 128
    """Images per run of the scoring network. It changes memory and speed, not scores."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.fpr < 1:
            raise UserError(f"--fpr {self.fpr} is not possible: it must lie between 0 and 1")
        if not 0 <= self.seed < 2**63:
            raise UserError(f"--seed {self.seed} is not possible: it must be from 0 up to 2^63 − 1")
        least = {"likelihood_images": 0, "samples": 2, "unit_rows": 1, "batch_size": 1}
        for name, lowest in least.items():
            if (value := getattr(self, name)) is not None and value < lowest:
                raise UserError(f"--{name.replace('_', '-')} {value} is not possible: it must be at least {lowest}")
        named_paths(self.outliers)


def named_paths(outliers: Sequence[str]) -> dict[str, str]:
    """The path of each set of outliers by its name, from NAME=PATH.

    Raises:
        UserError: one is not of that form, its name is no plain folder name, or two have the same.
    """
    paths: dict[str, str] = {}
    for text in outliers:
        name, equals, path = text.partition("=")
        if not (name and equals and path):
            raise UserError(f"--outliers {text} is not possible: write NAME=PATH, such as digits=mnist/")
        if not re.fullmatch(r"\w[\w.-]*", name):
            raise UserError(
                f"--outliers {text} is not possible: the name {name} is no plain folder name; use letters, digits, "
                "'.', '_' and '-', and begin with a letter or digit"
            )
        # Some disks do not tell a from A.
        if name.lower() in map(str.lower, paths):
            raise UserError(f"--outliers names two sets {name}; give each its own name")
        paths[name] = path
    return paths
