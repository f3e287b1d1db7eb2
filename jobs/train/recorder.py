"""What a run tells of itself: metrics.jsonl, TensorBoard, and how far it is.

All are written anew from the history that the checkpoint holds, never appended to: after a crash they agree with the
checkpoint that the run continues from, and any storage can hold them.
"""

import json
import tempfile
import time
from pathlib import Path
from typing import Any

from export.storage import Folder

_SECONDS_BETWEEN = 2.0
_LOCAL = ("epoch", "step", "seconds")  # no curves


class Recorder:
    """Writes the records of a run; used by one worker only."""

    def __init__(self, folder: Folder, total_images: int, history: list[dict[str, Any]]) -> None:
        """Take the run's folder, the images it will process in all epochs, and the epochs that are done."""
        from torch.utils.tensorboard import SummaryWriter

        self._folder, self._total = folder, total_images
        self._spoken = 0.0
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
        """Whether progress was last told a few seconds ago."""
        return time.monotonic() - self._spoken >= _SECONDS_BETWEEN

    def progress(self, images_done: int, images_per_second: float, elbo: float | None) -> None:
        """Say how far the run is; `elbo` is the training ELBO of late."""
        self._spoken = time.monotonic()
        state = {"images": images_done, "total": self._total, "images_per_second": images_per_second, "elbo": elbo}
        self._folder.write_text("progress.json", json.dumps(state))

    def close(self) -> None:
        """End the recording."""
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
            board.delete(name)  # events of a run that was killed: the new file holds its epochs too

    def _add_to_tensorboard(self, record: dict[str, Any]) -> None:
        for key, value in record.items():
            if key not in _LOCAL:
                self._writer.add_scalar(key, value, global_step=record["epoch"])
