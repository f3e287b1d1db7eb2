"""The parts of an outlier score: statistics of an image, in groups with one density each.

A family of models describes its groups once, beside the code that computes them. The fit, the graphs, the parity check,
the manifest, the model card and the reasons read these descriptions; none of them knows a statistic by name.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from vae_core.errors import UserError
from vae_core.outputs import Output

Measure = Literal["density", "mass", "tails"]


@dataclass(frozen=True)
class Statistic:
    """One number that describes an image."""

    name: str
    meaning: str
    unit: str
    aspect: str
    """What it measures, in plain words; explanations merge the statistics of one aspect."""
    high: str
    """The explanation if it is too high, after "the image is flagged because"; `{}` stands for how far, such as
    `3.1 σ`, and `{place}` for where the map of surprise is highest, such as `lower left`."""
    low: str
    """The same if it is too low."""
    tolerance: float = 1e-5
    """See `Output.tolerance`."""
    scale: float = 1.0
    """See `Output.scale`."""

    def __post_init__(self) -> None:
        for field in ("name", "meaning", "unit", "aspect", "high", "low"):
            text = getattr(self, field)
            if not (text and text.isprintable()):
                raise UserError(f"{field} of the statistic {self.name!r} must be one line of text, got {text!r:.100}")

    @property
    def output(self) -> Output:
        """As the output of a graph."""
        return Output(self.name, self.meaning, self.unit, self.tolerance, self.scale)


@dataclass(frozen=True)
class Group:
    """Numbers whose distribution over in-distribution images gives one term of the outlier score.

    They are either scalars, which are statistics themselves, or the entries of one vector, such as a latent code: these
    have no meaning one by one, and the only statistic is the log density of the vector.
    """

    name: str
    meaning: str
    """What the density describes, as named in the description of the score."""
    weight: float
    """Weight of this group's surprise in the score."""
    statistics: tuple[Statistic, ...]
    ridge: float = 1e-2
    """Added to every variance when the density is fitted, after standardising; without it nearly redundant numbers
    would be separated by rounding, and a few images by chance."""
    least_scale: float = 1e-2
    """The smallest scale to standardise by: numbers that hardly vary must not be magnified."""
    vector: Output | None = None
    """The vector whose log density, or rarity, is the only statistic; None if the statistics are the entries."""
    is_code: bool = False
    """Whether the vector is the mean of q(z|x). It then shares its density with the prior: the mixture over codes,
    fitted to draws of q(z|x) for many more images than are held out."""

    measure: Measure = "density"
    """How the group's numbers are compared with those of in-distribution images:

    - `density`: all together, by their distance under a mixture of Gaussians;
    - `mass`: the same, by the mass of the mixture's tails beyond them, to which a rare kind of image adds little;
    - `tails`: each statistic by itself, by how far it lies in the upper tail of its own distribution. The term is their
      mean."""
    of_training: bool = False
    """Whether the density is fitted to training images too, because nothing that the vector depends on was trained."""

    def __post_init__(self) -> None:
        assert self.statistics, f"the group {self.name} has no statistic"
        assert self.vector is None or len(self.statistics) == 1, f"{self.name}: a vector has one log density"
        assert self.vector is None or self.measure != "tails", f"{self.name}: a vector has no upper tail"
        assert self.vector is not None or self.measure != "mass", f"{self.name}: shares are of a density"

    @property
    def inputs(self) -> tuple[Output, ...]:
        """What a model computes for this group: the statistics, each (N,), or the vector, (N, D)."""
        return tuple(s.output for s in self.statistics) if self.vector is None else (self.vector,)


def statistics_of(groups: Sequence[Group]) -> tuple[Statistic, ...]:
    """The statistics of all groups, in the order used everywhere."""
    found = tuple(statistic for group in groups for statistic in group.statistics)
    assert len({statistic.name for statistic in found}) == len(found), "two statistics share a name"
    assert len({group.name for group in groups}) == len(groups), "two groups share a name"
    return found


def score_output(groups: Sequence[Group]) -> Output:
    """A description of the outlier score of these groups."""
    terms = " + ".join(f"{group.weight:g} × that of {group.meaning}" for group in groups)
    return Output(
        "outlier_score",
        f"surprise under densities of in-distribution images: {terms}",
        "nats, higher is more outlying",
        tolerance=1e-4,  # differences are divided by spreads, which magnifies rounding
    )
