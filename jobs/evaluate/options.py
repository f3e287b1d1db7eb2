"""Options of `vae evaluate`."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from jobs.bulk import InferenceOptions
from vae_core.errors import UserError


@dataclass(frozen=True, kw_only=True)
class EvaluateOptions(InferenceOptions):
    """Evaluate a bundle on in-distribution test images and on sets of outliers."""

    bundle: str
    """Path or URL of a bundle made by `vae export`."""

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

    likelihood_images: int = 1000
    """Number of images, drawn at random, on which to estimate the likelihood; 0 for none. Each costs twice `samples`
    decodes."""

    samples: int = 1000
    """Samples per estimate of log p(x). More samples tighten the bound."""

    seed: int = 0
    """Seed of the estimates' noise, of the choice of images for them, and of the bootstrap."""

    fpr: float = 0.01
    """False positive rate at which to report the true positive rate."""

    resize: bool = False
    """Convert images of another size or channel count; otherwise they are errors."""

    unit_rows: int | None = None
    """Approximate rows per unit of work; default 1/64 of all, at least 1,024 and at most 32,768."""

    batch_size: int = 128
    """Images per run of the scoring network. Affects memory and speed, not scores."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.fpr < 1:
            raise UserError(f"--fpr must lie between 0 and 1, got {self.fpr}")
        if not 0 <= self.seed < 2**63:
            raise UserError(f"--seed must lie between 0 and 2^63 − 1, got {self.seed}")
        least = {"likelihood_images": 0, "samples": 2, "unit_rows": 1, "batch_size": 1}
        for name, lowest in least.items():
            if (value := getattr(self, name)) is not None and value < lowest:
                raise UserError(f"--{name.replace('_', '-')} must be at least {lowest}, got {value}")
        self.mask_places()

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
