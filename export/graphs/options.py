"""Options for building a bundle from a model; `vae export` takes them from the command line."""

from dataclasses import dataclass
from typing import Literal

from vae_core.errors import UserError


@dataclass(frozen=True, kw_only=True)
class BuildOptions:
    """How to build a bundle from a model."""

    prior: Literal["mixture", "normal"] = "mixture"
    """p(z) of the bundle, used for samples and likelihoods: a `mixture` of Gaussians fitted to the model's codes, of a
    run with labels one for each class; or the `normal` N(0, I) of training. Outlier scores are the same under both. The
    family ladder, whose latent variables have priors that depend on one another already, always takes `normal`."""
    class_samples: int = 8
    """Samples K of classes.onnx, which classifies images in a bundle of a run with labels; even."""
    samples: int = 64
    """Samples K of likelihood.onnx, which estimates log p(x); even."""
    int8: bool = False
    """Quantise the scorer to 8-bit integers: about twice as fast on CPUs with instructions for them, but scores differ
    from those in fp32. The bundle then scores in 8-bit integers only."""

    def __post_init__(self) -> None:
        if self.samples < 2 or self.samples % 2:
            raise UserError(f"--samples must be an even number of at least 2 (antithetic pairs), got {self.samples}")
        if self.class_samples < 2 or self.class_samples % 2:
            raise UserError(f"--class-samples must be an even number of at least 2, got {self.class_samples}")
