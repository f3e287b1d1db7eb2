"""Options of `vae export`."""

from dataclasses import dataclass

from export.graphs.options import BuildOptions


@dataclass(frozen=True, kw_only=True)
class ExportOptions(BuildOptions):
    """Export a training run to a bundle of verified ONNX graphs."""

    run: str
    """Path or URL of the training run."""
    bundle: str
    """Output folder of the bundle, a path or URL: new or empty."""
    checkpoint: str = "best"
    """Checkpoint to export: `best` by validation ELBO, or `last`."""
