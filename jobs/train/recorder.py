"""Record the metrics of a run, metrics.jsonl and TensorBoard, and its progress.

The files are rewritten from the history in the checkpoint, never appended to: after a crash they agree with the
checkpoint that the run resumes from, and the storage need not support appending.
"""

import json
import tempfile
import time
from pathlib import Path
from typing import Any

from export.storage import Folder

_SECONDS_BETWEEN = 2.0
_NOT_PLOTTED = ("epoch", "step", "seconds")


class Recorder:
    """Writes the records of a run; used by rank 0 only."""

    def __init__(self, folder: Folder, total_images: int, history: list[dict[str, Any]]) -> None:
        """Create from the run's folder, the number of images over all epochs, and the records of finished epochs."""
        from torch.utils.tensorboard import SummaryWriter

        self._folder, self._total = folder, total_images
        self._reported = 0.0
        self._scratch = tempfile.TemporaryDirectory(prefix="vae-tensorboard-")
        self._writer = SummaryWriter(self._scratch.name)
        for record in history:
            self._add_to_tensorboard(record)
        self._write(history)

    def epoch(self, history: list[dict[str, Any]]) -> None:
        """Record the last epoch of `history`."""
        self._add_to_tensorboard(history[-1])
        self._write(history)

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
        self._scratch.cleanup()

    def _write(self, history: list[dict[str, Any]]) -> None:
        self._folder.write_text("metrics.jsonl", "".join(json.dumps(record) + "\n" for record in history))
        self._writer.flush()
        board = self._folder.child("tensorboard")
        current = {path.name for path in Path(self._scratch.name).iterdir()}
        for name in current:
            board.write(name, (Path(self._scratch.name) / name).read_bytes())
        for name in set(board.names()) - current:
            board.delete(name)  # of a killed process: the new file has its epochs too

    def _add_to_tensorboard(self, record: dict[str, Any]) -> None:
        for key, value in record.items():
            if key not in _NOT_PLOTTED:
                self._writer.add_scalar(key, value, global_step=record["epoch"])
