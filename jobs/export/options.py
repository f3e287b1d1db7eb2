"""Options of `vae export`."""

import dataclasses
from dataclasses import dataclass

from export.graphs.options import BuildOptions
from export.targets import names
from vae_core.errors import UserError

_BUILDING = (*(field.name for field in dataclasses.fields(BuildOptions)), "checkpoint")


@dataclass(frozen=True, kw_only=True)
class ExportOptions(BuildOptions):
    """Export a training run to a bundle of verified ONNX graphs, or a bundle for another runtime."""

    run: str | None = None
    """Path or URL of the training run; required, unless an existing bundle is converted with --for."""
    bundle: str
    """Folder of the bundle, a path or URL: with --run where it is written, new or empty; else the one to convert."""
    bundle_hash: str | None = None
    """With --for and without --run: refuse any bundle but that of this hash, which `vae inspect` prints."""
    checkpoint: str = "best"
    """Checkpoint to export: `best` by validation ELBO, or `last`."""
    for_: str | None = None
    """Write the bundle for another runtime, too: `triton`, a model repository of NVIDIA Triton Inference Server; or
    `web`, the files that a static page opens in a browser."""
    output: str | None = None
    """Output folder of --for, a path or URL: new or empty."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.checkpoint not in ("best", "last"):
            raise UserError(f"--checkpoint must be best or last, got {self.checkpoint}")
        if self.for_ is not None and self.for_ not in names():
            raise UserError(f"--for must be one of {', '.join(names())}, got {self.for_}")
        if (self.for_ is None) != (self.output is None):
            given, missing = ("--output", "--for") if self.for_ is None else ("--for", "--output")
            raise UserError(f"{given} needs {missing}: a runtime and the folder of its files go together")
        if self.run is None and self.for_ is None:
            raise UserError("give --run to export a training run, or --for and --output to convert the bundle")
        if self.run is not None and self.bundle_hash is not None:
            raise UserError("--bundle-hash is of an existing bundle, but --run makes a new one; leave one of them out")
        if self.run is None:
            defaults = {field.name: field.default for field in dataclasses.fields(self)}
            for name in _BUILDING:
                if getattr(self, name) != defaults[name]:
                    option = f"--{name.replace('_', '-')}"
                    raise UserError(f"{option} needs --run: {self.bundle} is converted as it is; leave {option} out")
