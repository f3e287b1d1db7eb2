"""The calibration images of a bundle of somebody else: as many as the manifest says, sorted, of the right types."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from export.parquet import is_signed, read_parquet

CLASS = "class"
"""The column of calibration.parquet that holds the class of each calibration image, if the bundle has classes."""
_SCORE, _CODE, _PICTURE = "outlier_score", "mean", "image"


def require_rows(data: bytes, images: int) -> None:
    """Raise an error unless a Parquet file has as many rows as there are calibration images. Reads its footer only.

    Raises:
        ValueError: it has not.
        pyarrow.ArrowException, OSError, …: it is no Parquet file.
    """
    if (found := pq.read_metadata(pa.BufferReader(data)).num_rows) != images:
        raise ValueError(f"{found:,} rows, where the manifest has {images:,} calibration images")


def read_calibration(data: bytes, images: int, latent_dim: int) -> pa.Table:
    """The content of calibration.parquet.

    Args:
        data: of the file.
        images: the number of rows that it must have.
        latent_dim: the length of the codes.

    Raises:
        ValueError: it has other rows or columns.
        pyarrow.ArrowException, OSError, …: it is damaged otherwise.
    """
    require_rows(data, images)
    require_values(data, max(1, latent_dim))
    table = read_parquet(pa.BufferReader(data))
    expected = {_SCORE: pa.float32(), _CODE: pa.list_(pa.float32(), latent_dim)}
    for name, kind in expected.items():
        if (found := table.schema.field(name).type) != kind:
            raise ValueError(f"a column {name} of type {found}, not {kind}")
    for field in table.schema:
        is_other = field.name not in (_CODE, _PICTURE, CLASS)
        if is_other and not (pa.types.is_floating(field.type) and table[field.name].null_count == 0):
            raise ValueError(f"a column {field.name!r:.100} of type {field.type}, or with gaps")
    scores = table[_SCORE].to_numpy()
    if not (np.isfinite(scores).all() and (np.diff(scores) >= 0).all()):
        raise ValueError("scores that are not finite and ascending")
    pictures = table[_PICTURE].combine_chunks()
    if not pa.types.is_binary(pictures.field("bytes").type):
        raise ValueError("pictures that are not bytes")
    if not pictures.is_valid().equals(table[_CODE].combine_chunks().is_valid()):
        raise ValueError("codes without pictures, or pictures without codes")
    if pictures.null_count == len(pictures):
        raise ValueError("no picture")
    return table


def require_values(data: bytes, most: int) -> None:
    """Raise a ValueError if a column of a Parquet file has more than `most` values a row: few bytes may repeat many."""
    footer = pq.read_metadata(stream := pa.BufferReader(data))
    if is_signed(footer, stream):
        raise ValueError("encrypted columns")
    for number in range(footer.num_row_groups):
        group = footer.row_group(number)
        for column in (group.column(i) for i in range(group.num_columns)):
            if column.num_values > most * group.num_rows:
                name = column.path_in_schema
                raise ValueError(f"{column.num_values:,} values of {name!r:.100} in {group.num_rows:,} rows")
