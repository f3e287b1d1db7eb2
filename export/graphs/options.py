"""Options of a bundle that is made of a model; `vae export` takes them from the command line."""

from dataclasses import dataclass
from typing import Literal

from vae_core.errors import UserError


@dataclass(frozen=True, kw_only=True)
class BuildOptions:
    """What kind of bundle to make of a model."""

    prior: Literal["mixture", "normal"] = "mixture"
    """p(z) of the bundle, which samples and likelihoods are under: a `mixture` of Gaussians fitted to where the model's
    codes lie, or the `normal` N(0, I) of training. Outlier scores are the same under both."""
    samples: int = 64
    """Samples K of likelihood.onnx, which estimates log p(x); even."""
    int8: bool = False
    """Let the scorer compute in 8-bit integers: about twice as fast on CPUs with instructions for them, for scores that
    are other numbers. The bundle is then one for scoring with these alone."""

    def __post_init__(self) -> None:
        if self.samples < 2 or self.samples % 2:
            raise UserError(f"--samples must be an even number of at least 2 (antithetic pairs), got {self.samples}")
