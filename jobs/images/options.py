"""Options of every command that reads images: where tables store them."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class ColumnOptions:
    """Which column of tables holds the images, and what its values mean. Image files need neither."""

    image_column: str | None = None
    """Column of the images in Parquet files; default `image`, or the only column that can hold images."""

    pixel_range: tuple[float, float] | None = None
    """Values of black and white in a column of lists, for values other than uint8 from 0 to 255: `0 1` for fractions.
    They are rounded to 8 bits; a value outside makes its row an error."""
