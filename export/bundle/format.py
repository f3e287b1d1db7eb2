"""The bundle: a directory of ONNX graphs and what is needed to trust and use them.

manifest.json lists every other file with its SHA-256 and is written last, so a bundle is complete or absent.
Opening one checks the manifest, then verifies every hash before anything is used.
"""

import hashlib
import io
import json
import math
from collections.abc import Mapping
from contextlib import AbstractContextManager
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from export.bundle.arrays import read_arrays
from export.bundle.calibration import CLASS, read_calibration, require_rows, require_values
from export.bundle.checks import parse_statistic
from export.bundle.interface import probe_values, require_interfaces
from export.bundle.manifest import LETTERBOX, parse_manifest
from export.bundle.verified import read_listed, read_manifest, refuse_unlisted, require_hash
from export.bundle.weights import WEIGHTS, OnnxGraph, open_graph
from export.class_labels import ClassLabels
from export.guarantees.classes import Classes
from export.guarantees.labels import LABEL, LOG_PROBABILITY, WEIGHT, label_references
from export.parquet import read_parquet
from export.region import Region
from export.storage import Folder
from export.tiling import Tiling
from vae_core.errors import BundleError, OutputError, UserError, parsing, raising
from vae_core.latents import PRIORS, Prior
from vae_core.outliers.groups import Statistic
from vae_core.outputs import Output

FORMAT = 3
MANIFEST = "manifest.json"
ENCODER, DECODER, SCORER = "encoder.onnx", "decoder.onnx", "scorer.onnx"
EXPLAINER, LIKELIHOOD = "explainer.onnx", "likelihood.onnx"
CONDITIONAL, PIXEL = "conditional.onnx", "pixel.onnx"
POSTERIOR, GRADIENT = "posterior.onnx", "gradient.onnx"
CLASSES, CLASS_CALIBRATION = "classes.onnx", "classes.parquet"
CALIBRATION, PARITY, PROBE, CARD = "calibration.parquet", "parity.json", "probe.npz", "README.md"
PRIOR = "prior.npz"
FILES = (ENCODER, DECODER, SCORER, EXPLAINER, LIKELIHOOD, WEIGHTS, CALIBRATION, PARITY, PROBE, PRIOR, CARD)
"""What every manifest lists. Other files in a bundle's folder are refused, but for a signature and hidden files."""
OF_CAUSAL = (CONDITIONAL, PIXEL)
"""What the manifest of a model with a causal layer lists besides."""
OF_HIERARCHY = (POSTERIOR,)
"""What the manifest of a model lists besides whose posterior is no diagonal Gaussian."""
OF_GRADIENT = (GRADIENT,)
"""What the manifest of a model of pixels lists besides, unless its decoder has an operator without a gradient."""
OF_CLASSES = (CLASSES, CLASS_CALIBRATION)
"""What the manifest of a model of classes lists besides."""
OPTIONAL = (OF_CAUSAL, OF_HIERARCHY, OF_GRADIENT, OF_CLASSES)
"""Of each of these a manifest lists all or none."""


_MOST_ARRAY_BYTES = 1 << 30


class Contents(NamedTuple):
    """What `write_bundle` writes."""

    manifest: dict[str, Any]
    files: dict[str, bytes]


class Exemplars(NamedTuple):
    """Calibration images to compare an image with."""

    rows: npt.NDArray[np.int64]  # rows of `Bundle.calibration`, [n]
    codes: npt.NDArray[np.float32]  # the means of q(z|x), [n, D]


class Bundle:
    """A verified bundle, held in memory."""

    def __init__(self, folder: Folder, manifest_bytes: bytes, files: Mapping[str, bytes]) -> None:
        self.folder = folder
        self.manifest: dict[str, Any] = json.loads(manifest_bytes)
        self.hash = hashlib.sha256(manifest_bytes).hexdigest()
        """SHA-256 of manifest.json, which holds the hashes of all other files: the identity of the bundle."""
        self._files = dict(files)
        self._graphs = {
            name: open_graph(content, files[WEIGHTS], f"{folder.url}/{name}")
            for name, content in files.items()
            if name.endswith(".onnx")
        }

    @classmethod
    @raising(BundleError)
    def open(cls, url: str, hash: str | None = None) -> "Bundle":  # the attribute's name
        """Read and verify the bundle at a path or URL.

        Args:
            url: of its folder.
            hash: if only one bundle will do, its `hash`. The hashes in a manifest find accidents; whoever changes a
                bundle can correct them, but not this one.

        Raises:
            BundleError: there is no bundle, it has another hash or another format, its manifest lists a file that it
                must not, a file is missing or differs from its hash, the folder holds files that are not listed, or a
                graph refers to weights outside the bundle.
        """
        folder = Folder.at(url)
        manifest_bytes = read_manifest(folder, MANIFEST, hash)
        listed = parse_manifest(manifest_bytes, f"{url}/{MANIFEST}", FORMAT, FILES, OPTIONAL)["files"]
        refuse_unlisted(folder, {*listed, MANIFEST})
        files = {name: read_listed(folder, name, entry) for name, entry in listed.items()}
        bundle = cls(folder, manifest_bytes, files)
        require_interfaces(bundle.manifest, bundle._graphs, folder.url)
        with bundle._parsing(CALIBRATION):
            require_rows(files[CALIBRATION], bundle.calibration_images)
        return bundle

    @classmethod
    def of(cls, bundle: "Bundle | str", hash: str | None = None) -> "Bundle":
        """An open bundle as it is, or that at a path or URL, opened; `hash` and errors as for `open`."""
        if isinstance(bundle, str):
            return cls.open(bundle, hash)
        require_hash(bundle.folder, bundle.hash, hash)
        return bundle

    def __repr__(self) -> str:
        model, shape = self.manifest["model"].get("family"), "×".join(map(str, self.shape))
        return f"<Bundle {self.folder.url}: {model}, images {shape}, hash {self.hash[:12]}>"

    def read(self, name: str) -> bytes:
        """The verified content of one file."""
        return self._files[name]

    def graph(self, name: str) -> OnnxGraph:
        """One graph with its weights, to open a session from."""
        return self._graphs[name]

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of the images."""
        channels, height, width = self.manifest["image"]["shape"]
        return channels, height, width

    @property
    def resizes(self) -> bool:
        """Whether the training images were letterboxed to this shape, so that others are to be, too."""
        return bool(self.manifest["image"].get("resize") == LETTERBOX)

    @cached_property
    def region(self) -> Region | None:
        """The pixels that count, which the graphs see to; None if all do."""
        value = self.manifest["image"].get("region")
        return None if value is None else Region.from_json(value, self.shape)

    @cached_property
    def tiling(self) -> Tiling | None:
        """How images are cut into tiles of this shape, if the bundle was calibrated on whole images; else None."""
        value = self.manifest.get("tiling")
        return None if value is None else Tiling.from_json(value, self.shape)

    def require_tiling(self, purpose: str) -> Tiling:
        """The tiling; raises a UserError, which begins with `purpose`, if the bundle scores images of its shape."""
        if self.tiling is None:
            raise UserError(
                f"{purpose} needs a bundle that scores images by tiles, but {self.folder.url} does not; run "
                "`vae calibrate --tile N` first"
            )
        return self.tiling

    def refuse_tiling(self, purpose: str) -> None:
        """Raise a UserError, which begins with `purpose`, if the bundle scores whole images by tiles."""
        if self.tiling is not None:
            raise UserError(
                f"{purpose} needs images of the model's size, but {self.folder.url} scores images by tiles of "
                f"{self.tiling.describe()}; leave it out, or use the bundle before `vae calibrate --tile`"
            )

    @property
    def is_binarised(self) -> bool:
        """Whether the model is one of black and white images: its graphs binarise grey ones at constant thresholds."""
        return "binarise" in self.manifest["likelihood"]

    @property
    def latent_dim(self) -> int:
        """D, the number of latent variables."""
        return int(self.manifest["prior"]["latent_dim"])

    @property
    def is_causal(self) -> bool:
        """Whether a pixel's distribution depends on the pixels before it, too: see conditional.onnx and pixel.onnx."""
        return CONDITIONAL in self._files

    @property
    def is_hierarchical(self) -> bool:
        """Whether q(z|x) is no diagonal Gaussian: see posterior.onnx."""
        return POSTERIOR in self._files

    @property
    def has_gradient(self) -> bool:
        """Whether it has the gradient of log p(x|z) with respect to z: see gradient.onnx."""
        return GRADIENT in self._files

    @cached_property
    def class_labels(self) -> ClassLabels | None:
        """The classes of the bundle; None without."""
        return ClassLabels.from_json(self.manifest["classes"]) if CLASSES in self._files else None

    def require_classes(self, purpose: str) -> ClassLabels:
        """The classes; raises a UserError, which begins with `purpose`, if there are none."""
        if self.class_labels is None:
            raise UserError(
                f"{purpose} needs a bundle with classes, but {self.folder.url} has none; train with "
                "`vae train --label COLUMN`"
            )
        return self.class_labels

    @cached_property
    def label_references(self) -> Classes:
        """What labels are ranked among: the calibration images of each class, by the titles of `class_labels`."""
        labels, data = self.require_classes("a p-value of labels"), self.read(CLASS_CALIBRATION)
        with self._parsing(CLASS_CALIBRATION):
            require_values(data, 1)
            table = read_parquet(pa.BufferReader(data))
            own, numbers, weights = (table[name].to_numpy() for name in (LOG_PROBABILITY, LABEL, WEIGHT))
            if not (np.isin(numbers, range(len(labels))).all() and np.isfinite(own).all() and (weights > 0).all()):
                raise ValueError("labels that are no classes, or weights that are not positive")
            return label_references(own, numbers, weights, labels.titles)

    @property
    def decodes_images(self) -> bool:
        """Whether the decoder makes images: the model is one of pixels, and not of features."""
        return any(output.name == "image" for output in self.outputs(DECODER))

    def require_images(self, purpose: str) -> None:
        """Raise a UserError, which begins with `purpose`, unless the decoder makes images."""
        if not self.decodes_images:
            raise UserError(
                f"{purpose} needs a model of pixels, but {self.folder.url} has one of features, which decodes no "
                "images; train one of another family, such as conv"
            )

    def require_gradient(self, purpose: str) -> None:
        """Raise a UserError, which begins with `purpose`, unless the bundle decodes images and has their gradient."""
        self.require_images(purpose)
        if not self.has_gradient:
            raise UserError(
                f"{purpose} needs the gradient of log p(x|z), but {self.folder.url} has no {GRADIENT}: its decoder has "
                "an operator without one, which `vae export` names; leave it out"
            )

    @property
    def decoded_values(self) -> int:
        """Numbers in the largest output of the decoder for one latent vector."""
        outputs = self.manifest["graphs"][DECODER]["outputs"]
        return max(int(math.prod(output["shape"][1:])) for output in outputs)

    @cached_property
    def statistics(self) -> tuple[Statistic, ...]:
        """The statistics of the outlier score, in the order of contributions and deviations."""
        return tuple(map(parse_statistic, self.manifest["statistics"]))

    def outputs(self, graph: str) -> tuple[Output, ...]:
        """A graph's outputs, in order."""
        described = self.manifest["graphs"][graph]["outputs"]
        return tuple(Output(**{field: each[field] for field in Output._fields}) for each in described)

    def output(self, graph: str, name: str) -> Output:
        """One output of a graph, by its name."""
        return next(output for output in self.outputs(graph) if output.name == name)

    @cached_property
    def calibration(self) -> pa.Table:
        """The calibration images' scores (ascending), statistics, codes and pictures."""
        with self._parsing(CALIBRATION):
            return read_calibration(self.read(CALIBRATION), self.calibration_images, self.latent_dim)

    @property
    def calibration_images(self) -> int:
        """The number of calibration images."""
        return int(self.manifest["calibration"]["images"])

    @cached_property
    def calibration_scores(self) -> npt.NDArray[np.float32]:
        """The calibration images' outlier scores, ascending, [n]."""
        scores: npt.NDArray[np.float32] = self.calibration["outlier_score"].to_numpy()
        return scores

    @property
    def calibration_classes(self) -> pa.Array | None:
        """The classes of the calibration images as text, null where an image has none, in the order of their scores.

        None if the bundle was calibrated without classes.

        Raises:
            UserError: they are not text.
        """
        if CLASS not in self.calibration.column_names:
            return None
        column = self.calibration[CLASS]
        if not pa.types.is_string(column.type):
            raise UserError(
                f"{self.folder.url}/{CALIBRATION}: the column {CLASS} must hold text, got {column.type}; "
                "calibrate the bundle again"
            )
        return column.combine_chunks()

    @cached_property
    def exemplars(self) -> Exemplars:
        """The calibration images whose codes and pictures are kept: all, unless the set is large."""
        column = self.calibration["mean"].combine_chunks()
        rows: npt.NDArray[np.int64] = np.flatnonzero(column.is_valid().to_numpy(zero_copy_only=False))
        return Exemplars(rows, column.flatten().to_numpy().reshape(len(rows), self.latent_dim))

    @cached_property
    def prior(self) -> Prior:
        """p(z), the prior of samples and likelihoods."""
        kind = PRIORS[self.manifest["prior"]["name"]]
        with self._parsing(PRIOR):
            return kind.from_arrays(read_arrays(self.read(PRIOR), _MOST_ARRAY_BYTES), self.latent_dim)

    @cached_property
    def probe(self) -> dict[str, npt.NDArray[Any]]:
        """The probe batch and its expected outputs."""
        count, expected = self.manifest["probe"]["images"], probe_values(self.manifest)
        bytes_of_one = sum(np.dtype(kind).itemsize * math.prod(shape) for kind, shape in expected.values())
        with self._parsing(PROBE):
            arrays = read_arrays(self.read(PROBE), min(count * bytes_of_one, _MOST_ARRAY_BYTES))
            found = {name: (each.dtype.name, each.shape) for name, each in arrays.items()}
            for name in sorted({*expected, *found}):
                kind, shape = expected.get(name, ("", ()))
                if found.get(name) != (kind, (count, *shape)):
                    raise ValueError(f"{name!r:.100} of {found.get(name)!s:.100}, not {(kind, (count, *shape))!s:.100}")
            return arrays

    def _parsing(self, name: str) -> AbstractContextManager[None]:
        return parsing(f"{self.folder.url}/{name}", "get the bundle again from its source", BundleError)

    @property
    def examples(self) -> npt.NDArray[np.uint8]:
        """Held-out in-distribution images at full size, uint8 [M,C,H,W]: the real part of the probe batch."""
        images: npt.NDArray[np.uint8] = self.probe["image"][: self.manifest["probe"]["real_images"]]
        return images


def write_bundle(folder: Folder, manifest: Mapping[str, Any], files: Mapping[str, bytes]) -> Bundle:
    """Write a bundle; the manifest, completed with the files' sizes and hashes, comes last.

    Raises:
        OutputError: the folder already holds a bundle, or files that do not belong to one.
    """
    more = set(files) - {*FILES}
    assert {*FILES} <= set(files), "a bundle has these files"
    assert more == {name for names in OPTIONAL if more.intersection(names) for name in names}, "and no others"
    refuse_occupied(folder)
    hashes = {
        name: {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)} for name, content in files.items()
    }
    text = json.dumps({"format": FORMAT, **manifest, "files": hashes}, indent=2) + "\n"
    for name in set(folder.names()) - set(files):
        folder.delete(name)  # of an export that did not end, of another model
    for name, content in files.items():
        folder.write(name, content)
    folder.sweep()  # what a killed process was writing
    folder.write_text(MANIFEST, text)
    return Bundle(folder, text.encode(), files)


def refuse_occupied(folder: Folder, option: str = "") -> None:
    """Raise an OutputError unless a bundle may be written to `folder`: it is absent, empty or an incomplete bundle.

    With the name of the `option` that gives it, it must be writable, too: before the work whose result it will hold.
    """
    if option:
        folder.refuse_file(option)
        folder.require_writable()
    names = set(folder.names())
    if MANIFEST in names:
        raise OutputError(f"{folder.url} holds a bundle already; give another directory or delete it first")
    if others := sorted((names - {*FILES}.union(*OPTIONAL)) | set(folder.subfolders())):
        raise OutputError(f"{folder.url} holds other files ({others[0]}); give an empty or new directory")


def npz_bytes(arrays: Mapping[str, npt.NDArray[Any]]) -> bytes:
    """Named arrays as an .npz file, such as probe.npz; see `Bundle.probe`."""
    stream = io.BytesIO()
    np.savez_compressed(stream, allow_pickle=False, **arrays)
    return stream.getvalue()
