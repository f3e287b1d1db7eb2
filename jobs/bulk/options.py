"""The options that every bulk job shares: where its work runs."""

from dataclasses import dataclass, fields
from typing import Any, Literal, TypeVar

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
    """How many workers share the work; by default one per CPU, or four per GPU where the cluster has any."""

    def __post_init__(self) -> None:
        if self.workers is not None and self.workers < 1:
            raise UserError(f"--workers is {self.workers}, but a job needs at least 1")
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
