"""The splits: images drawn at random before training and copied into the run, so that export needs only the run.

Some rows may be excluded: they are neither trained on nor held out.

Validation images select the best epoch and fit the outlier score; calibration images are used for calibration only.
Both are held out. A sample of the training images is kept too, as the bundle's prior is fitted to the codes of more
images than are held out.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from export.class_labels import ClassLabels
from export.guarantees.p_values import LEAST
from export.images.contract import ImageContract
from jobs.images.image_set import ImageSet
from jobs.images.reader import read_images
from jobs.images.units import Piece
from jobs.train.run_directory import HELD_OUT, Run, SplitImages
from vae_core.config import TrainConfig
from vae_core.errors import UserError

# Drawing single rows uniformly from a billion would mean reading them all: with more row groups, this many are drawn
# first, and rows only from these.
_MAX_PIECES = 1024
_MAX_SHARE = 0.1  # of the data, for each held-out split
_SPARE = 16  # images drawn beyond those that should be enough
LEAST_SHARE = 0.25  # the same where a tenth is too few for an export
# Training images to keep: more hardly improve a mixture prior, and a run should stay small.
_MAX_KEPT, _MAX_KEPT_BYTES = 12_000, 128 << 20

Rows = npt.NDArray[np.int64]
NO_ROWS: Rows = np.empty(0, np.int64)


def make_splits(
    run: Run,
    images: ImageSet,
    contract: ImageContract,
    config: TrainConfig,
    labels: ClassLabels | None = None,
    excluded: Rows = NO_ROWS,
) -> pa.Table:
    """Draw, read and write the splits, of all rows but the `excluded`; return the errors of unreadable held-out rows.

    Raises:
        UserError: there are too few images.
    """
    sizes = split_sizes(images.rows - len(excluded), config)
    rng = np.random.default_rng([config.seed, 0x5EED])
    wanted = sum(sizes)
    pieces, offsets = _spread(images, rng, wanted)
    allowed = _Allowed(pieces, offsets, excluded)
    drawn = allowed.draw(rng, wanted)
    content, errors = _read(pieces, offsets, np.sort(drawn), contract, labels)
    if 0 < len(content.rows) < wanted:
        # Draw more in place of those that cannot be read: in proportion, and some to spare.
        extra = _SPARE + (wanted - len(content.rows)) * wanted // len(content.rows)
        more = allowed.draw(rng, min(allowed.rows, wanted + extra))
        drawn = np.concatenate([drawn, more[~np.isin(more, drawn)][:extra]])
        content, errors = _read(pieces, offsets, np.sort(drawn), contract, labels)
    rows = content.rows
    if (held := min(len(rows), wanted) * min(sizes) // wanted) < LEAST:
        raise UserError(
            f"too few images can be used: `vae export` needs {LEAST} in each held-out split, and the smaller one would "
            f"have {held}; train on more images"
        )
    # Shuffle before splitting, so that both splits span all of the data.
    order = rng.permutation(len(rows))[:wanted]
    cut = len(order) * sizes[0] // wanted
    for split, chosen in zip(HELD_OUT, (np.sort(order[:cut]), np.sort(order[cut:])), strict=True):
        run.write_split(split, content.take(chosen))
    limit = min(_MAX_KEPT, _MAX_KEPT_BYTES // contract.nbytes)
    others = allowed.draw(rng, min(allowed.rows, limit + len(drawn)))
    # Unreadable rows among these are reported by the training.
    content, _ = _read(pieces, offsets, np.sort(others[~np.isin(others, drawn)][:limit]), contract, labels)
    run.write_split("training", content)
    return errors


def split_sizes(rows: int, config: TrainConfig) -> tuple[int, int]:
    """The numbers of validation and calibration images to draw from so many images."""
    limit = max(int(rows * _MAX_SHARE), min(LEAST, int(rows * LEAST_SHARE)))
    return min(config.validation_images, limit), min(config.calibration_images, limit)


def held_rows(run: Run) -> Rows:
    """Row numbers, over all images, of those not trained on: those of both held-out splits and the excluded; sorted."""
    splits = run.folder.child("splits")
    tables = [splits.read_table(f"{split}.parquet", columns=["training_row"]) for split in HELD_OUT]
    rows: Rows = pa.concat_tables(tables)["training_row"].to_numpy()
    return np.sort(np.concatenate([rows, run.read_excluded()]))


def starts(pieces: Sequence[Piece]) -> npt.NDArray[np.int64]:
    """The first row number of each piece over all pieces, then the total number of rows: [P + 1]."""
    return np.concatenate([[0], np.cumsum([piece.rows for piece in pieces], dtype=np.int64)])


def _spread(images: ImageSet, rng: np.random.Generator, wanted: int) -> tuple[list[Piece], npt.NDArray[np.int64]]:
    """The pieces to draw from, and the first row number of each over all images."""
    pieces = images.pieces
    offsets = starts(pieces)[:-1]
    if len(pieces) <= _MAX_PIECES or pieces[0].row_group < 0:
        return pieces, offsets
    order = rng.permutation(len(pieces))
    rows_by_order = np.cumsum([pieces[i].rows for i in order])
    enough = int(np.searchsorted(rows_by_order, 10 * wanted)) + 1  # draw at most a tenth of each piece, on average
    chosen = np.sort(order[: max(_MAX_PIECES, enough)])
    return [pieces[i] for i in chosen], offsets[chosen]


class _Allowed:
    """The rows of some pieces that are not excluded; row numbers are over all images."""

    def __init__(self, pieces: Sequence[Piece], offsets: Rows, excluded: Rows) -> None:
        self._starts, self._offsets = starts(pieces), offsets
        # Positions, counted within the pieces, of the excluded ones.
        piece = np.maximum(np.searchsorted(offsets, excluded, side="right") - 1, 0)
        within = excluded - offsets[piece]
        inside = (within >= 0) & (within < np.diff(self._starts)[piece])
        self._out = np.sort((within + self._starts[piece])[inside])
        self.rows = int(self._starts[-1]) - len(self._out)

    def draw(self, rng: np.random.Generator, size: int) -> Rows:
        """Draw `size` distinct rows."""
        drawn = rng.choice(self.rows, size=size, replace=False)
        # out[i] − i allowed rows precede the i-th excluded one, so the k-th allowed follows those where this is ≤ k.
        drawn = drawn + np.searchsorted(self._out - np.arange(len(self._out)), drawn, side="right")
        piece = np.searchsorted(self._starts, drawn, side="right") - 1
        rows: Rows = self._offsets[piece] + drawn - self._starts[piece]
        return rows


def _read(
    pieces: Sequence[Piece],
    offsets: npt.NDArray[np.int64],
    drawn: npt.NDArray[np.int64],
    contract: ImageContract,
    labels: ClassLabels | None,
) -> tuple[SplitImages, pa.Table]:
    """Read the drawn rows, and the errors of unreadable rows."""
    pictures: list[npt.NDArray[np.uint8]] = []
    rows: list[npt.NDArray[np.int64]] = []
    classes: list[npt.NDArray[np.int64]] = []
    columns = [] if labels is None else [labels.column]
    errors: list[pa.Table] = []
    for piece, offset in zip(pieces, offsets, strict=True):
        wanted = drawn[np.searchsorted(drawn, offset) : np.searchsorted(drawn, offset + piece.rows)]
        if not len(wanted):
            continue
        for batch in read_images([piece], contract, columns):
            # Row number over all images = offset of the piece + distance from its first row.
            found = batch.keys["row"].to_numpy() - piece.first_row + offset
            kept = np.isin(found, wanted)
            pictures.append(batch.images[kept])
            rows.append(found[kept])
            if labels is not None:
                classes.append(labels.indices(batch.keys[labels.column])[kept])
            if len(batch.errors):
                missing = batch.errors["row"].to_numpy() - piece.first_row + offset
                errors.append(batch.errors.filter(pa.array(np.isin(missing, wanted))).drop_columns(columns))
    known = None if labels is None else np.concatenate(classes)
    content = SplitImages(np.concatenate(pictures), np.concatenate(rows), known)
    return content, pa.concat_tables(errors or [_no_errors()])


def _no_errors() -> pa.Table:
    return pa.table(
        {"file": pa.array([], pa.string()), "row": pa.array([], pa.int64()), "reason": pa.array([], pa.string())}
    )
