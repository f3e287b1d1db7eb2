"""The run directory: everything about one training run, in readable formats.

run.json                 configuration, data, versions: the identity of the run
extractor.onnx           of a model of features: from an image to its feature maps, fixed when the run starts
region.json              the pixels that count, if not all do
splits/*.parquet         the held-out images and a sample of the others, packed, with their rows in the training data
excluded.parquet         rows of the training data that the run does not use, if there are any
checkpoints/step-…/      see vae_core.checkpoint; last.json and best.json name the last and the best
metrics.jsonl            one line per epoch
tensorboard/             the same for TensorBoard
mlflow.json              the id of the MLflow run, with --mlflow, and how many epochs it has
errors/*.parquet         unreadable training images
progress.json            progress of a running job
"""

import hashlib
import json
import re
from collections import Counter
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from export.bundle.weights import open_graph
from export.class_labels import NONE, ClassLabels
from export.images.contract import ImageContract
from export.parquet import read_parquet
from export.region import Region
from export.storage import Folder
from jobs.images.packing import packed_column, packed_schema
from jobs.images.reader import read_images
from jobs.images.source import find_images
from vae_core.checkpoint import FILES as CHECKPOINT_FILES
from vae_core.errors import RunError, parsing, raising

FORMAT = 2
CHECKPOINTS = "checkpoints"
EXTRACTOR = "extractor.onnx"
REGION = "region.json"
EXCLUDED = "excluded.parquet"
MLFLOW = "mlflow.json"
_LABEL = "label"
_CHECKPOINT = re.compile(r"step-[0-9]+")

Split = Literal["validation", "calibration", "training"]
Which = Literal["last", "best"]
HELD_OUT: tuple[Split, ...] = ("validation", "calibration")


class SplitImages(NamedTuple):
    """The images of a split."""

    images: npt.NDArray[np.uint8]  # [N,C,H,W]
    rows: npt.NDArray[np.int64]  # [N], row numbers over all training images, in file order
    labels: npt.NDArray[np.int64] | None = None  # [N], class numbers, −1 for none; of a run with labels

    def take(self, chosen: npt.NDArray[np.int64]) -> "SplitImages":
        """Some of the images."""
        labels = None if self.labels is None else self.labels[chosen]
        return SplitImages(self.images[chosen], self.rows[chosen], labels)


@dataclass(frozen=True)
class Run:
    """A run directory."""

    folder: Folder

    @classmethod
    def open(cls, url: str) -> "Run":
        """Open the run at a path or URL.

        Raises:
            RunError: there is none, or it has another format version.
        """
        run = cls(Folder.at(url))
        if not run.exists():
            raise RunError(f"{url} is not a run: it has no run.json; give the --run folder of `vae train`")
        run.read_head()
        return run

    def exists(self) -> bool:
        """Whether the run was started."""
        return self.folder.has("run.json")

    @raising(RunError)
    def read_head(self) -> dict[str, Any]:
        """Read run.json.

        Raises:
            RunError: it is damaged or has another format version.
        """
        head, where = self.folder.read_json("run.json"), f"{self.folder.url}/run.json"
        if (found := head.get("format")) != FORMAT:
            raise RunError(
                f"{where} must have run format {FORMAT}, got {found!r:.20}; train again in another directory"
            )
        for part in ("model", "train", "data"):
            if not isinstance(head.get(part), dict):
                raise RunError(
                    f"{where}: {part} must be an object, got {head.get(part)!r:.100}; train again in another directory"
                )
        return head

    def write_head(self, head: Mapping[str, Any]) -> None:
        """Write run.json."""
        self.folder.write_text("run.json", json.dumps({"format": FORMAT, **head}, indent=2) + "\n")

    def history(self) -> list[dict[str, Any]]:
        """The metrics of each finished epoch: numbers by name.

        Raises:
            RunError: they are damaged.
        """
        if not self.folder.has("metrics.jsonl"):
            return []
        content = self.folder.read("metrics.jsonl")
        with self._parsing("metrics.jsonl"):
            epochs: list[dict[str, Any]] = [json.loads(line) for line in content.decode().splitlines()]
            if not all(type(value) in (int, float) for epoch in epochs for value in epoch.values()):
                raise ValueError("a metric that is no number")
            return epochs

    def _parsing(self, name: str) -> AbstractContextManager[None]:
        return parsing(f"{self.folder.url}/{name}", "copy the run again, or train again in another directory", RunError)

    def write_split(self, split: Split, content: SplitImages) -> None:
        """Write a split, in the packed layout."""
        _, channels, height, width = content.images.shape
        fields = [("training_row", pa.int64())] + ([] if content.labels is None else [(_LABEL, pa.int64())])
        schema = packed_schema((channels, height, width), pa.schema(fields))
        columns = [packed_column(np.ascontiguousarray(content.images)), pa.array(content.rows)]
        columns += [] if content.labels is None else [pa.array(content.labels)]
        table = pa.Table.from_arrays(columns, schema=schema)
        self.folder.child("splits").write_table(f"{split}.parquet", table, row_group_size=4096)

    def read_split(self, split: Split, shape: tuple[int, int, int]) -> SplitImages:
        """Read all images of a split.

        Raises:
            RunError: the split is missing or damaged.
        """
        found = find_images([f"{self.folder.url}/splits/{split}.parquet"])
        names = ["training_row", *(name for name in found.columns.names if name == _LABEL)]
        batches = list(read_images(found.pieces, ImageContract(*shape), names))
        with self._parsing(f"splits/{split}.parquet"):
            for errors in (batch.errors for batch in batches):
                if len(errors):
                    raise ValueError(str(errors["reason"][0]))
            images = np.concatenate([batch.images for batch in batches])
            columns = [np.concatenate([batch.keys[name].to_numpy() for batch in batches]) for name in names]
            for name, values in zip(names, columns, strict=True):
                if values.dtype != np.int64:
                    raise ValueError(f"{name} must be integers, got {values.dtype}")
            labels = self.read_labels() if len(columns) > 1 else None
            if len(columns) > 1 and not np.isin(columns[1], range(NONE, len(labels or ()))).all():
                raise ValueError("labels that are no classes of the run")
            return SplitImages(images, *columns)

    def write_excluded(self, rows: npt.NDArray[np.int64]) -> None:
        """Write the rows of the training data that the run does not use."""
        self.folder.write_table(EXCLUDED, pa.table({"training_row": rows}))

    def read_excluded(self) -> npt.NDArray[np.int64]:
        """Read the rows of the training data that the run does not use, sorted."""
        if not self.folder.has(EXCLUDED):
            return np.empty(0, np.int64)
        content = self.folder.read(EXCLUDED)
        with self._parsing(EXCLUDED):
            rows: npt.NDArray[np.int64] = read_parquet(pa.BufferReader(content))["training_row"].to_numpy()
            if rows.dtype != np.int64:
                raise ValueError(f"rows must be integers, got {rows.dtype}")
            return rows

    def read_labels(self) -> ClassLabels | None:
        """The classes of the training images; None in a run without labels.

        Raises:
            RunError: run.json is damaged.
        """
        if (value := self.read_head()["data"].get("label")) is None:
            return None
        try:
            return ClassLabels.from_json(value)
        except (ValueError, AttributeError, TypeError) as error:
            raise RunError(f"{self.folder.url}/run.json is damaged: {error}; train again elsewhere") from error

    def write_extractor(self, content: bytes) -> None:
        """Write the graph that computes the features of an image."""
        self.folder.write(EXTRACTOR, content)

    def read_extractor(self) -> bytes | None:
        """Read the graph that computes the features of an image; None in a run on pixels.

        Raises:
            RunError: the run is one on features and has no such graph, or it is none that a bundle may have.
        """
        if self.folder.has(EXTRACTOR):
            content = self.folder.read(EXTRACTOR)
            open_graph(content, b"", f"{self.folder.url}/{EXTRACTOR}")
            return content
        if "backbone" in self.read_head()["model"]:
            raise RunError(f"{self.folder.url} lacks {EXTRACTOR}, which computes its features; copy the run again")
        return None

    def write_region(self, region: Region) -> None:
        """Write the region of interest."""
        self.folder.write_text(REGION, json.dumps(region.to_json()) + "\n")

    def read_region(self, shape: tuple[int, int, int]) -> Region | None:
        """Read the region of interest of images of a shape; None if all pixels count.

        Raises:
            RunError: it is damaged.
        """
        if not self.folder.has(REGION):
            return None
        try:
            return Region.from_json(self.folder.read_json(REGION), shape)
        except ValueError as error:
            raise RunError(f"{self.folder.url}/{REGION} is damaged: {error}; train again elsewhere") from error

    def write_errors(self, errors: pa.Table) -> None:
        """Record unreadable training images. The file is named after its first row, so rewriting replaces it."""
        first = f"{errors['file'][0].as_py()}\0{errors['row'][0].as_py()}"
        name = hashlib.sha256(first.encode()).hexdigest()[:16]
        self.folder.child("errors").write_table(f"{name}.parquet", errors)

    def left_out(self) -> dict[str, int]:
        """The training images that were left out: their number by reason, each counted once."""
        errors = self.folder.child("errors")
        seen: dict[tuple[str | None, int | None], str] = {}
        for name in errors.names():
            content = errors.read(name)
            with self._parsing(f"errors/{name}"):
                table = read_parquet(pa.BufferReader(content), ["file", "row", "reason"])
                keys = zip(table["file"].to_pylist(), table["row"].to_pylist(), strict=True)
                seen.update(zip(keys, table["reason"].to_pylist(), strict=True))
        return dict(Counter(seen.values()).most_common())

    def write_checkpoint(self, name: str, files: Mapping[str, bytes], best: bool) -> None:
        """Write a checkpoint, mark it as the last (and the best), and delete those that are neither."""
        checkpoints = self.folder.child(CHECKPOINTS)
        folder = checkpoints.child(name)
        for file, content in files.items():
            folder.write(file, content)
        # The pointers are replaced atomically, after the files, so they always name a complete checkpoint.
        for which in ("last", "best") if best else ("last",):
            checkpoints.write_text(f"{which}.json", json.dumps({"checkpoint": name}))
        kept = {self._pointer("last"), self._pointer("best")}
        for other in checkpoints.subfolders():
            if _CHECKPOINT.fullmatch(other) and other not in kept:
                checkpoints.child(other).delete_all()

    def read_checkpoint(self, which: Which) -> dict[str, bytes] | None:
        """Read the files of the last or the best checkpoint; None if there is none yet.

        Raises:
            RunError: last.json or best.json does not name a checkpoint of this run.
        """
        name = self._pointer(which)
        if name is None:
            return None
        folder = self.folder.child(CHECKPOINTS).child(name)
        try:
            return {file: folder.read(file) for file in CHECKPOINT_FILES}
        except FileNotFoundError as error:
            raise RunError(f"{folder.url} lacks files of a checkpoint; copy the run again") from error

    def _pointer(self, which: Which) -> str | None:
        checkpoints = self.folder.child(CHECKPOINTS)
        if not checkpoints.has(f"{which}.json"):
            return None
        name = checkpoints.read_json(f"{which}.json").get("checkpoint")
        if not isinstance(name, str) or not _CHECKPOINT.fullmatch(name):
            raise RunError(
                f"{checkpoints.url}/{which}.json must name a checkpoint such as step-000001000, got {name!r:.100}; "
                "copy the run again"
            )
        return name
