"""Options of `vae export`."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Export:
    """Make a bundle of verified ONNX graphs from a training run."""

    run: str
    """Directory or URL of the training run."""
    bundle: str
    """Directory or URL of the bundle: new or empty."""
    samples: int = 64
    """Samples K of likelihood.onnx, which estimates log p(x); even."""
    int8: bool = False
    """Let the scorer compute in 8-bit integers: about twice as fast on CPUs with instructions for them, for scores that
    are other numbers. The bundle is then one for scoring with these alone."""
    checkpoint: str = "best"
    """Which checkpoint: the `best` by validation ELBO, or the `last`."""
