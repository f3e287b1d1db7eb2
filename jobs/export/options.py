"""Options of `vae export`."""

from dataclasses import dataclass

from export.graphs.options import BuildOptions


@dataclass(frozen=True, kw_only=True)
class ExportOptions(BuildOptions):
    """Make a bundle of verified ONNX graphs from a training run."""

    run: str
    """Directory or URL of the training run."""
    bundle: str
    """Directory or URL of the bundle: new or empty."""
    checkpoint: str = "best"
    """Which checkpoint: the `best` by validation ELBO, or the `last`."""
