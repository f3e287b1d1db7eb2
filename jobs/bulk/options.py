"""The options that every bulk job shares: where its work runs."""

from dataclasses import dataclass, fields
from typing import Any, Literal, TypeVar

from export.runtime.device import Provider
from vae_core.errors import UserError

Options = TypeVar("Options", bound="BulkOptions")
EngineName = Literal["auto", "ray", "local"]


@dataclass(frozen=True, kw_only=True)
class BulkOptions:
    """Where a bulk job runs. None of this changes a result."""

    engine: EngineName = "auto"
    """What runs the work: `ray` (a cluster, or one started here for the job), `local` (threads of this process),
    or `auto`: ray where an address is given or RAY_ADDRESS is set, local otherwise."""

    address: str | None = None
    """The Ray cluster to run on, for example `auto` or `host:6379`; RAY_ADDRESS by default."""

    workers: int | None = None
    """How many workers share the work; by default one per CPU, or `--workers-per-gpu` for each GPU if these do it."""

    def __post_init__(self) -> None:
        if self.workers is not None and self.workers < 1:
            raise UserError(f"--workers must be at least 1, got {self.workers}")
        if self.engine == "local" and self.address is not None:
            raise UserError("--address names a Ray cluster, but --engine local runs in this process; drop one")

    def passed_to(self, job: type[Options], **given: Any) -> Options:
        """The options of another bulk job that is a part of this one: what both jobs know carries over.

        Args:
            job: the other job's options.
            given: those that differ, and those that this job does not know.
        """
        shared = {field.name for field in fields(self)} & {field.name for field in fields(job)}
        return job(**({name: getattr(self, name) for name in shared} | given))


@dataclass(frozen=True, kw_only=True)
class InferenceOptions(BulkOptions):
    """Where a bulk job runs that computes with ONNX Runtime."""

    provider: Provider = "auto"
    """What computes: `cpu`, `cuda`, or `auto`: GPUs if there are any. A GPU that a worker of a cluster reserved and
    cannot use is an error."""

    workers_per_gpu: int | None = None
    """How many workers share a GPU: each reserves that part of one, and of its memory. By default four, or as many as
    there are CPUs for each GPU when the job starts; where an autoscaler brings GPUs, say how many."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.workers_per_gpu is None:
            return
        if self.workers_per_gpu < 1:
            raise UserError(f"--workers-per-gpu must be at least 1, got {self.workers_per_gpu}")
        if self.provider == "cpu":
            raise UserError("--workers-per-gpu needs GPUs, but --provider is cpu; drop one")
