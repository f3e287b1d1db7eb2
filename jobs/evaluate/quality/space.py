"""The space in which samples are compared with test images: a network image → vector, and what is done to its vectors.

By default the network is the built-in filter bank (`vae_core.features.filter_bank`), averaged over the quarters of the
image. Its numbers are of many scales and strongly correlated: they are standardised over the test images and projected
on their 64 leading principal components, each with variance one there. A network that the user names is taken as it is,
as is the custom for classifiers' features.
"""

import hashlib
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt

from export.runtime.descriptor import Descriptor
from export.runtime.device import Device
from export.storage import Folder
from jobs.evaluate.quality.frechet import Floats, Vectors
from vae_core.errors import UserError

FILTER_BANK = "filter bank"
FILE = "features.onnx"
"""The network's name in the output: workers see that folder, and perhaps no other."""

_COMPONENTS = 64
_LEAST_SCALE = 1e-3  # of a feature: rounding is not magnified
_LEAST_SHARE = 1e-6  # of a component's standard deviation in that of the first


class Network(NamedTuple):
    """The network that the user chose."""

    name: str
    content: bytes | None  # None for the filter bank, which is built when it is needed

    def identity(self) -> str:
        """What identifies it: its name, or the hash of its file."""
        return self.name if self.content is None else hashlib.sha256(self.content).hexdigest()


def choose_network(file: str | None, shape: tuple[int, int, int]) -> Network:
    """The network in a file, or the filter bank, for images of this shape, (C, H, W).

    Raises:
        UserError: the file cannot be read or is no such network (see `Descriptor`); or torch, which builds the filter
            bank, is missing.
    """
    if file is None:
        if find_spec("torch") is None:
            raise UserError(
                "--sample-quality needs torch to build its filter bank; install vae-core[train], or give a network as "
                "--quality-features FILE.onnx"
            )
        return Network(FILTER_BANK, None)
    folder, _, name = file.rpartition("/")
    try:
        content = Folder.at(folder or ("/" if file.startswith("/") else ".")).read(name)
    except OSError as error:
        raise UserError(f"--quality-features must be an ONNX file, got {file}, which cannot be read") from error
    Descriptor(content, shape, f"--quality-features {file}", provider="cpu")
    return Network(name, content)


@dataclass(frozen=True)
class NetworkRef:
    """A network in the output of a job; picklable."""

    folder: Folder
    identity: str
    sha256: str

    @classmethod
    def write(cls, network: Network, shape: tuple[int, int, int], folder: Folder) -> Self:
        """Write the network to a folder, unless an earlier run of the job already has."""
        if not folder.has(FILE):
            content = network.content
            if content is None:
                # Imported where it is needed: it takes torch.
                from export.extractors.descriptor import filter_bank_descriptor

                content = filter_bank_descriptor(shape)
            folder.write(FILE, content)
        return cls(folder, network.identity(), hashlib.sha256(folder.read(FILE)).hexdigest())

    def open(self, shape: tuple[int, int, int], device: Device) -> Descriptor:
        """Open the network for images of this shape.

        Raises:
            UserError: the file is no longer the one that the job was planned with.
        """
        content, where = self.folder.read(FILE), f"{self.folder.url}/{FILE}"
        if hashlib.sha256(content).hexdigest() != self.sha256:
            raise UserError(f"{where} has changed since the job was planned; choose another --output")
        return Descriptor(content, shape, where, provider=device)


class Components(NamedTuple):
    """The leading principal components of standardised vectors."""

    mean: Floats  # [D]
    projection: Floats  # [D, K]

    @classmethod
    def of(cls, vectors: Vectors) -> Self:
        """Those of vectors [N, D], N ≥ 3: at most 64, each with mean zero and variance one over these vectors."""
        mean = vectors.mean(axis=0, dtype=np.float64)
        scale = np.maximum(vectors.std(axis=0, dtype=np.float64), _LEAST_SCALE)
        standard = (vectors - mean) / scale
        variances, directions = np.linalg.eigh(standard.T @ standard / (len(vectors) - 1))
        deviations = np.sqrt(variances.clip(min=0.0))[::-1][: min(_COMPONENTS, len(vectors) - 1)]
        kept = deviations[deviations > _LEAST_SHARE * deviations[0]]
        return cls(mean, directions[:, ::-1][:, : len(kept)] / kept / scale[:, None])

    def project(self, vectors: Vectors) -> npt.NDArray[np.float32]:
        """The components of vectors [N, D]: [N, K]."""
        projected: Floats = (vectors - self.mean) @ self.projection
        return projected.astype(np.float32)


def describe_space(network: Network, size: int) -> dict[str, Any]:
    """The entry of `metrics.json`: what the vectors are, and how many numbers one has."""
    if network.content is None:
        return {"network": FILTER_BANK, "vector": "whitened principal components", "size": size}
    return {"network": network.name, "sha256": network.identity(), "vector": "as the network gives it", "size": size}
