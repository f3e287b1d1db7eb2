"""Options shared by all bulk jobs: where the work runs."""

from dataclasses import dataclass, fields
from typing import Any, Literal, TypeVar

from export.bundle.format import Bundle
from export.runtime.device import Provider
from export.storage import Folder
from vae_core.errors import UserError

Options = TypeVar("Options", bound="BulkOptions")
EngineName = Literal["auto", "ray", "local"]


@dataclass(frozen=True, kw_only=True)
class BulkOptions:
    """Where a bulk job runs. Results do not depend on it."""

    engine: EngineName = "auto"
    """`ray` (an existing or new local cluster), `local` (threads of this process), or `auto`: ray if --address or
    RAY_ADDRESS is set, else local."""

    address: str | None = None
    """Address of the Ray cluster, for example `auto` or `host:6379`; default RAY_ADDRESS."""

    workers: int | None = None
    """Number of workers; default one per CPU, or on GPUs `--workers-per-gpu` for each. Each needs up to 512 MiB of
    memory beside its model, and up to 1.5 GiB while it reads an image near the limits of 64 megapixels and 256 MiB."""

    def __post_init__(self) -> None:
        if self.workers is not None and self.workers < 1:
            raise UserError(f"--workers must be at least 1, got {self.workers}")
        if self.engine == "local" and self.address is not None:
            raise UserError("--address requires --engine ray or auto, got --engine local; omit one of them")

    def passed_to(self, job: type[Options], **given: Any) -> Options:
        """Options of another bulk job that is part of this one: common fields are copied.

        Args:
            job: options class of the other job.
            given: fields to override, and those that this job does not have.
        """
        shared = {field.name for field in fields(self)} & {field.name for field in fields(job)}
        return job(**({name: getattr(self, name) for name in shared} | given))


@dataclass(frozen=True, kw_only=True)
class BundleOptions:
    """The bundle of a job."""

    bundle: str
    """Path or URL of a bundle made by `vae export`."""

    bundle_hash: str | None = None
    """Refuse any bundle but that of this hash, which `vae inspect` prints: 64 hexadecimal digits."""

    def open_bundle(self, output: str | None = None) -> Bundle:
        """Open and verify the bundle; for errors see `Bundle.open`.

        Args:
            output: where the job writes; a UserError if that is in the bundle.
        """
        if output is not None:
            Folder.at(output).refuse_inside("--output", Folder.at(self.bundle))
        return Bundle.open(self.bundle, self.bundle_hash)


@dataclass(frozen=True, kw_only=True)
class InferenceOptions(BulkOptions):
    """Where a bulk job with ONNX Runtime runs."""

    provider: Provider = "auto"
    """ONNX Runtime provider: `cpu`, `cuda`, or `auto`: GPUs if there are any. If a worker reserved a GPU but cannot use
    it, the job fails."""

    workers_per_gpu: int | None = None
    """Workers that share a GPU, each with an equal part of it and its memory; default four, or fewer if there are fewer
    CPUs per GPU at the start of the job. Set it if an autoscaler adds GPUs."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.workers_per_gpu is None:
            return
        if self.workers_per_gpu < 1:
            raise UserError(f"--workers-per-gpu must be at least 1, got {self.workers_per_gpu}")
        if self.provider == "cpu":
            raise UserError("--workers-per-gpu requires --provider cuda or auto, got --provider cpu; omit one of them")
