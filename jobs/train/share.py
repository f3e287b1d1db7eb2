"""A worker's share of the training images, in an order determined by (seed, epoch, rank).

The training rows are all rows except the held-out ones. Worker r of n owns the r-th of n equal ranges of them. If its
images fit in memory they are decoded once and permuted each epoch; otherwise row groups are read in a random order
through a shuffle buffer. Either way the batches of an epoch are a function of (seed, epoch, rank), and an epoch can be
entered at any step.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from export.class_labels import ClassLabels
from export.images.contract import ImageContract
from jobs.images.reader import read_images
from jobs.images.units import Piece
from jobs.train.columns import Columns
from jobs.train.inputs import Inputs
from jobs.train.splits import starts
from vae_core.batch import IMAGE, LABEL, ROW

_READ_ROWS = 8192  # rows per read when a share is streamed


class _Window(NamedTuple):
    """Images, and the order in which to use them."""

    columns: Columns
    order: npt.NDArray[np.int64]

    def take(self, start: int, stop: int) -> Columns:
        chosen = self.order[start:stop]
        return {name: values[chosen] for name, values in self.columns.items()}


class TrainingImages(NamedTuple):
    """All training images, to be shared by the workers."""

    pieces: list[Piece]  # of all images, in order
    held: npt.NDArray[np.int64]  # held-out rows, sorted
    contract: ImageContract
    inputs: Inputs = Inputs()  # what the model takes of them
    nbytes: int | None = None  # in memory, of what the model takes of one image, if that is not the image
    labels: ClassLabels | None = None  # of the classes, if they are trained on


class Share:
    """The training images of one worker."""

    def __init__(
        self,
        images: TrainingImages,
        rank: int,
        workers: int,
        seed: int,
        cache_bytes: int,
        on_errors: Callable[[pa.Table], None],
    ) -> None:
        """Plan a share.

        Args:
            images: of all workers.
            rank: 0 ≤ rank < workers.
            workers: number of workers.
            seed: of the order.
            cache_bytes: a share up to this decoded size is kept in memory; a larger one is streamed through a shuffle
                buffer of half this size.
            on_errors: called with the error tables of unreadable rows.
        """
        pieces, held, contract, self._inputs, nbytes, self._labels = images
        nbytes = nbytes or contract.nbytes
        self._held, self._contract, self._rank, self._seed = held, contract, rank, seed
        self._on_errors = on_errors
        offsets = starts(pieces)
        training_rows = int(offsets[-1]) - len(held)
        self.smallest = training_rows // workers  # rows of the smallest share
        first, last = (_global_row(k * training_rows // workers, held) for k in (rank, rank + 1))
        self._pieces = _clip(pieces, offsets, first, last)
        self.rows = (rank + 1) * training_rows // workers - rank * training_rows // workers
        self.fits = self.rows * nbytes <= cache_bytes
        self._buffer_rows = max(_READ_ROWS, cache_bytes // 2 // nbytes)
        self._cached: Columns | None = None
        self._seen_errors = False

    def batches(self, epoch: int, size: int, steps: int, first_step: int = 0) -> Iterator[Columns]:
        """Batches `first_step`…`steps` − 1 of an epoch, each of `size` images.

        All workers take the same number of steps; one whose share runs out, because of unreadable rows, repeats it.

        Raises:
            ValueError: no image of the share can be read.
        """
        step, pending = 0, _Pool()
        while step < steps:
            before = step
            for window in self._windows(epoch):
                pending.add(window)
                while pending.rows >= size and step < steps:
                    batch = pending.take(size)
                    if step >= first_step:
                        yield batch
                    step += 1
            if step == before and pending.rows == 0:
                raise ValueError(f"none of the {self.rows} training images of worker {self._rank} can be read")

    def _windows(self, epoch: int) -> Iterator[_Window]:
        """The share as shuffled windows."""
        rng = np.random.default_rng([self._seed, epoch, self._rank])
        if self.fits:
            if self._cached is None:
                self._cached = _join(list(self._read(self._pieces)))
            yield _shuffled(self._cached, rng)
            return
        buffer: list[Columns] = []
        rows = 0
        for chunk in self._read([self._pieces[i] for i in rng.permutation(len(self._pieces))]):
            buffer.append(chunk)
            rows += len(chunk[ROW])
            if rows >= self._buffer_rows:
                yield _shuffled(_join(buffer), rng)
                buffer, rows = [], 0
        if buffer:
            yield _shuffled(_join(buffer), rng)
        self._seen_errors = True

    def _read(self, pieces: list[tuple[Piece, int]]) -> Iterator[Columns]:
        """Read the training images of pieces, each given with its first row number over all images."""
        columns = [] if self._labels is None else [self._labels.column]
        for run in _runs(pieces):
            for batch in read_images([piece for piece, _ in run], self._contract, columns, batch_rows=_READ_ROWS):
                rows = _global_rows(batch.keys, run)
                place = np.minimum(np.searchsorted(self._held, rows), max(0, len(self._held) - 1))
                kept = self._held[place] != rows if len(self._held) else np.ones(len(rows), dtype=bool)
                if len(batch.errors) and not self._seen_errors:
                    self._on_errors(batch.errors.drop_columns(columns))
                if kept.any():
                    found: Columns = {IMAGE: batch.images[kept], ROW: rows[kept]}
                    if self._labels is not None:
                        found[LABEL] = self._labels.indices(batch.keys[self._labels.column])[kept]
                    yield self._inputs(found)
        if self.fits:
            self._seen_errors = True


class _Pool:
    """Images waiting to fill a batch."""

    def __init__(self) -> None:
        self._parts: list[_Window] = []
        self._used = 0  # images already taken from the first part
        self.rows = 0

    def add(self, part: _Window) -> None:
        self._parts.append(part)
        self.rows += len(part.order)

    def take(self, size: int) -> Columns:
        """Remove and return the first `size` images."""
        taken = []
        need = size
        while need:
            part = self._parts[0]
            end = min(self._used + need, len(part.order))
            taken.append(part.take(self._used, end))
            need -= end - self._used
            self._used = end
            if self._used == len(part.order):
                self._parts.pop(0)
                self._used = 0
        self.rows -= size
        return taken[0] if len(taken) == 1 else _join(taken)


def _join(parts: list[Columns]) -> Columns:
    if not parts:
        return {IMAGE: np.empty((0, 1, 1, 1), np.uint8), ROW: np.empty(0, np.int64)}
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _shuffled(columns: Columns, rng: np.random.Generator) -> _Window:
    return _Window(columns, rng.permutation(len(columns[ROW])))


def _runs(pieces: list[tuple[Piece, int]]) -> Iterator[list[tuple[Piece, int]]]:
    """Group pieces to read together: image files, which have one row each, in batches; other pieces alone."""
    files: list[tuple[Piece, int]] = []
    for piece, offset in pieces:
        if piece.row_group < 0:
            files.append((piece, offset))
        if files and (piece.row_group >= 0 or len(files) == _READ_ROWS):
            yield files
            files = []
        if piece.row_group >= 0:
            yield [(piece, offset)]
    if files:
        yield files


def _global_rows(keys: pa.Table, run: list[tuple[Piece, int]]) -> npt.NDArray[np.int64]:
    """Row numbers over all images of the rows read from a run of pieces."""
    if len(run) == 1:
        piece, offset = run[0]
        rows: npt.NDArray[np.int64] = keys["row"].to_numpy() - piece.first_row + offset
        return rows
    offsets = {piece.file: offset for piece, offset in run}
    return np.array([offsets[file] for file in keys["file"].to_pylist()], dtype=np.int64)


def _global_row(k: int, held: npt.NDArray[np.int64]) -> int:
    """Row number over all images of the k-th training row."""
    # held[i] − i training rows precede held[i], so the k-th follows the held rows for which this is ≤ k.
    return k + int(np.searchsorted(held - np.arange(len(held)), k, side="right"))


def _clip(pieces: list[Piece], offsets: npt.NDArray[np.int64], first: int, last: int) -> list[tuple[Piece, int]]:
    """The part of the pieces in rows [first, last), as pieces of at most `_READ_ROWS` with their first row numbers."""
    clipped = []
    for piece, offset in zip(pieces, offsets[:-1].tolist(), strict=True):
        low, high = max(first, offset), min(last, offset + piece.rows)
        if low >= high:
            continue
        shift = low - offset
        part = piece._replace(
            start=piece.start + shift, stop=piece.start + high - offset, first_row=piece.first_row + shift
        )
        for small in part.cut(_READ_ROWS):
            clipped.append((small, low + small.first_row - part.first_row))
    return clipped
