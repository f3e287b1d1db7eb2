"""The splits: images drawn at random before training, and copied into the run, so that export needs the run alone.

Validation images choose the best epoch and fit the outlier score; calibration images do nothing but calibrate. Both are
held out. A sample of the training images is kept too: the bundle's prior is fitted to the codes of more images than are
held out.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from jobs.images.contract import ImageContract
from jobs.images.reader import read_images
from jobs.images.source import ImageSet, Piece
from jobs.train.run_directory import HELD_OUT, Run
from vae_core.config import TrainConfig
from vae_core.errors import UserError

# To draw single rows evenly from a billion would mean reading them all: beyond this many row groups, this many are
# drawn first, and the rows from these.
_MOST_PIECES = 1024
_LARGEST_SHARE = 0.1  # of the data, for each held-out split
# Of the training images that are kept: beyond these a mixture prior hardly gains, and a run should stay small.
_MOST_KEPT, _MOST_KEPT_BYTES = 12_000, 128 << 20


def make_splits(run: Run, images: ImageSet, contract: ImageContract, config: TrainConfig) -> pa.Table:
    """Draw, read and keep the splits; the held-out rows that could not be read come back as an errors table.

    Raises:
        UserError: there are too few images to hold any out and train on the rest.
    """
    most = int(images.rows * _LARGEST_SHARE)
    sizes = [min(config.validation_images, most), min(config.calibration_images, most)]
    if min(sizes) < 1:
        raise UserError(f"{images.rows} images are too few to train on: at least 10 are needed, thousands to learn")
    rng = np.random.default_rng([config.seed, 0x5EED])
    pieces, offsets = _spread(images, rng, sum(sizes))
    drawn = _draw(pieces, offsets, rng, sum(sizes))
    pictures, rows, errors = _read(pieces, offsets, np.sort(drawn), contract)
    if len(rows) < 2:
        raise UserError(f"no image can be read ({errors['reason'][0]}); check what the files hold")
    # Shuffled, then cut: both splits come from all of the data.
    order = rng.permutation(len(rows))
    cut = len(order) * sizes[0] // sum(sizes)
    for split, chosen in zip(HELD_OUT, (np.sort(order[:cut]), np.sort(order[cut:])), strict=True):
        run.write_split(split, pictures[chosen], rows[chosen])
    most = min(_MOST_KEPT, _MOST_KEPT_BYTES // contract.nbytes)
    others = _draw(pieces, offsets, rng, min(sum(piece.rows for piece in pieces), most + len(drawn)))
    # Rows among these that cannot be read are errors of the training itself.
    pictures, rows, _ = _read(pieces, offsets, np.sort(others[~np.isin(others, drawn)][:most]), contract)
    run.write_split("training", pictures, rows)
    return errors


def held_rows(run: Run) -> npt.NDArray[np.int64]:
    """The rows of both held-out splits over all training images, sorted."""
    splits = run.folder.child("splits")
    tables = [splits.read_table(f"{split}.parquet", columns=["training_row"]) for split in HELD_OUT]
    rows: npt.NDArray[np.int64] = np.sort(pa.concat_tables(tables)["training_row"].to_numpy())
    return rows


def starts(pieces: Sequence[Piece]) -> npt.NDArray[np.int64]:
    """The first row of each piece, counted over all of them, and after them the number of rows: [P + 1]."""
    return np.concatenate([[0], np.cumsum([piece.rows for piece in pieces], dtype=np.int64)])


def _spread(images: ImageSet, rng: np.random.Generator, wanted: int) -> tuple[list[Piece], npt.NDArray[np.int64]]:
    """The pieces to draw from, and the first row of each over all images."""
    pieces = images.pieces
    offsets = starts(pieces)[:-1]
    if len(pieces) <= _MOST_PIECES or pieces[0].row_group < 0:
        return pieces, offsets
    order = rng.permutation(len(pieces))
    rows_by_order = np.cumsum([pieces[i].rows for i in order])
    enough = int(np.searchsorted(rows_by_order, 10 * wanted)) + 1  # no piece gives more than a tenth of its rows
    chosen = np.sort(order[: max(_MOST_PIECES, enough)])
    return [pieces[i] for i in chosen], offsets[chosen]


def _draw(
    pieces: Sequence[Piece], offsets: npt.NDArray[np.int64], rng: np.random.Generator, size: int
) -> npt.NDArray[np.int64]:
    """`size` different rows of the pieces, as rows over all images."""
    local = starts(pieces)
    drawn = rng.choice(int(local[-1]), size=size, replace=False)
    piece = np.searchsorted(local, drawn, side="right") - 1
    rows: npt.NDArray[np.int64] = offsets[piece] + drawn - local[piece]
    return rows


def _read(
    pieces: Sequence[Piece], offsets: npt.NDArray[np.int64], drawn: npt.NDArray[np.int64], contract: ImageContract
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64], pa.Table]:
    """The images of the drawn rows, the rows that could be read, and errors for the others."""
    pictures: list[npt.NDArray[np.uint8]] = []
    rows: list[npt.NDArray[np.int64]] = []
    errors: list[pa.Table] = []
    for piece, offset in zip(pieces, offsets, strict=True):
        wanted = drawn[np.searchsorted(drawn, offset) : np.searchsorted(drawn, offset + piece.rows)]
        if not len(wanted):
            continue
        for batch in read_images([piece], contract):
            # A row's place over all images is its piece's offset and its distance from the piece's first row.
            found = batch.keys["row"].to_numpy() - piece.first_row + offset
            kept = np.isin(found, wanted)
            pictures.append(batch.images[kept])
            rows.append(found[kept])
            if len(batch.errors):
                missing = batch.errors["row"].to_numpy() - piece.first_row + offset
                errors.append(batch.errors.filter(pa.array(np.isin(missing, wanted))))
    return np.concatenate(pictures), np.concatenate(rows), pa.concat_tables(errors or [_no_errors()])


def _no_errors() -> pa.Table:
    return pa.table(
        {"file": pa.array([], pa.string()), "row": pa.array([], pa.int64()), "reason": pa.array([], pa.string())}
    )
