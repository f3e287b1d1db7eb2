"""Options of `vae verify`."""

from dataclasses import dataclass

from jobs.bulk import BundleOptions
from vae_core.errors import UserError


@dataclass(frozen=True, kw_only=True)
class VerifyOptions(BundleOptions):
    """Run a bundle's probe batch in other runtimes, and compare with what PyTorch computed."""

    runtime: tuple[str, ...] = ()
    """Names of runtimes, all of which must be installed; without any, those that are."""

    skip: tuple[str, ...] = ()
    """Names of runtimes that are left out."""

    batch: tuple[int, ...] = (1, 7, 64)
    """Batch sizes; the whole probe batch runs at each."""

    python: tuple[str, ...] = ()
    """Python interpreters whose environments have runtimes too; that of this command is looked in first."""

    node_modules: str = "node_modules"
    """Folder of npm packages, in which onnxruntime-node and onnxruntime-web are looked for."""

    graph: tuple[str, ...] = ()
    """Graphs to run, such as `scorer.onnx`; without any, all of the bundle's."""

    time_limit: float = 300.0
    """Seconds for a runtime to open a graph, and for it to run one batch size; after them it is stopped."""

    json: bool = False
    """Print JSON, for programs: every output at every batch size."""

    def __post_init__(self) -> None:
        if not self.batch or min(self.batch) < 1:
            raise UserError(f"--batch must be sizes of at least 1, got {' '.join(map(str, self.batch)) or 'none'}")
        if not self.time_limit > 0:
            raise UserError(f"--time-limit must be positive, got {self.time_limit:g}")
