"""Record the metrics of a run, metrics.jsonl and TensorBoard, and its progress.

The files are rewritten from the history in the checkpoint, never appended to: after a crash they agree with the
checkpoint that the run resumes from, and the storage need not support appending. Pictures and histograms are not in the
history: each process adds a file with those of its own epochs.
"""

import json
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy.typing as npt

from export.storage import Folder

_SECONDS_BETWEEN = 2.0
_NOT_PLOTTED = ("epoch", "step", "seconds")
_OF_TRAINING = ("elbo", "reconstruction", "kl")
_OF_VALIDATION = ("active_units", "bits_per_dim")
_SPEED = ("images_per_second",)
BOARD, PICTURES = "tensorboard", "pictures"


class Recorder:
    """Writes the records of a run; used by rank 0 only."""

    def __init__(self, folder: Folder, total_images: int, history: list[dict[str, Any]]) -> None:
        """Create from the run's folder, the number of images over all epochs, and the records of finished epochs."""
        from torch.utils.tensorboard import SummaryWriter

        self._folder, self._total = folder, total_images
        self._reported = 0.0
        self._scratch = tempfile.TemporaryDirectory(prefix="vae-tensorboard-")
        self._writer = SummaryWriter(self._scratch.name)
        self._pictures = SummaryWriter(str(Path(self._scratch.name) / PICTURES))
        for record in history:
            self._add_to_tensorboard(record)
        self._write(history)

    def epoch(self, history: list[dict[str, Any]]) -> None:
        """Record the last epoch of `history`."""
        self._add_to_tensorboard(history[-1])
        self._write(history)

    def show(
        self, epoch: int, pictures: Mapping[str, npt.NDArray[Any]], histograms: Mapping[str, npt.NDArray[Any]]
    ) -> None:
        """Add pictures, uint8 [C, H, W], and histograms of values, by name, to TensorBoard."""
        for name, picture in pictures.items():
            self._pictures.add_image(name, picture, epoch)
        for name, values in histograms.items():
            self._pictures.add_histogram(name, values, epoch)
        self._pictures.flush()
        scratch, shown = Path(self._scratch.name) / PICTURES, self._folder.child(BOARD).child(PICTURES)
        for path in scratch.iterdir():
            shown.write(path.name, path.read_bytes())

    @property
    def is_due(self) -> bool:
        """Whether the last progress report is a few seconds old."""
        return time.monotonic() - self._reported >= _SECONDS_BETWEEN

    def progress(self, images_done: int, images_per_second: float, elbo: float | None) -> None:
        """Report progress; `elbo` is the recent training ELBO."""
        self._reported = time.monotonic()
        state = {"images": images_done, "total": self._total, "images_per_second": images_per_second, "elbo": elbo}
        self._folder.write_text("progress.json", json.dumps(state))

    def close(self) -> None:
        """Close the TensorBoard writer."""
        self._writer.close()
        self._pictures.close()
        self._scratch.cleanup()

    def _write(self, history: list[dict[str, Any]]) -> None:
        self._folder.write_text("metrics.jsonl", "".join(json.dumps(record) + "\n" for record in history))
        self._writer.flush()
        board = self._folder.child(BOARD)
        current = {path.name for path in Path(self._scratch.name).iterdir() if path.is_file()}
        for name in current:
            board.write(name, (Path(self._scratch.name) / name).read_bytes())
        for name in set(board.names()) - current:
            board.delete(name)  # of a killed process: the new file has its epochs too

    def _add_to_tensorboard(self, record: dict[str, Any]) -> None:
        for key, value in record.items():
            if key not in _NOT_PLOTTED:
                self._writer.add_scalar(tag(key), value, global_step=record["epoch"])


def tag(key: str) -> str:
    """The name of a number of `metrics.jsonl` in TensorBoard, which groups by what is before the slash."""
    if key.startswith("validation_"):
        return key.replace("_", "/", 1)
    groups = {"training": _OF_TRAINING, "validation": _OF_VALIDATION, "speed": _SPEED}
    return f"{next((group for group, keys in groups.items() if key in keys), 'optimisation')}/{key}"
