"""How a Parquet file stores its images: which column, and in what form.

| form | Arrow type | shape of an image |
|---|---|---|
| encoded | `struct<bytes: binary, path: string>` (Hugging Face), `binary` | from the image's header |
| packed | `fixed_size_binary` | schema metadata `vae.shape` = `[C, H, W]` |
| lists | `fixed_shape_tensor`, (nested) lists of uint8 | the tensor's or the lists'; flat lists as packed |

Encoded images may be dictionary-encoded. Lists may be of other numbers if the values of black and white are given.
Packed images of undeclared shape are read as the model's: pixels in [C, H, W] order, if the byte count matches.
"""

import json
import math
from typing import Literal, NamedTuple

import pyarrow as pa

SHAPE_KEY = b"vae.shape"

Form = Literal["encoded", "packed", "lists"]


class LayoutError(ValueError):
    """A schema without a usable image column; the message says why and lists the columns."""


class Layout(NamedTuple):
    """Where a file stores its images."""

    column: str
    form: Form
    field: str = ""  # of a struct: the field that holds the bytes
    shape: tuple[int, ...] | None = None  # stored shape of one image, if the schema declares it
    axes: str = ""  # order of the dimensions of `shape`: "CHW", "HWC", "HW"; empty: infer from the sizes
    levels: tuple[float, float] | None = None  # values of black and white, if they are not 0 and 255

    @property
    def leaf(self) -> str:
        """The Parquet column to read; of a struct, the bytes only."""
        return f"{self.column}.{self.field}" if self.field else self.column

    @property
    def pixels(self) -> int | None:
        """Size of one decoded image in bytes, if the schema declares it."""
        return None if self.shape is None else math.prod(self.shape)


def find_layout(schema: pa.Schema, column: str = "", levels: tuple[float, float] | None = None) -> Layout:
    """Find the image column: the one that is named, else `image`, else the only column of an image-like type.

    Args:
        schema: of a file.
        column: name of the column, if it was given.
        levels: values of black and white in lists, if they were given.

    Raises:
        LayoutError: there is no such column, there are several, or it has another type.
    """
    shape = _declared_shape(schema)
    if column and column not in schema.names:
        raise LayoutError(f"--image-column must name a column, got {column} ({_columns(schema)})")
    if (name := column or "image") in schema.names:
        if schema.names.count(name) > 1:
            raise LayoutError(f"one column must be named {name}, got several")
        field = schema.field(name)
        layout = layout_of(field, shape, levels)
        if layout is None:
            advice = f"{_advice(field)}; name another with --image-column"
            raise LayoutError(f"the column {name} must hold images, got {field.type}{advice} ({_columns(schema)})")
        return layout
    candidates = [layout for field in schema if (layout := layout_of(field, shape, levels))]
    # Fixed-size bytes without a shape are more often hashes and identifiers than images.
    candidates = [layout for layout in candidates if layout.form != "packed" or layout.shape is not None]
    if not candidates:
        advice = next((text for field in schema if (text := _advice(field))), "")
        raise LayoutError(f"no column holds images{advice} ({_columns(schema)})")
    if len(candidates) > 1:
        names = ", ".join(layout.column for layout in candidates)
        raise LayoutError(f"several columns may hold images ({names}); name the right one with --image-column")
    return candidates[0]


def _advice(field: pa.Field) -> str:
    """What makes images of lists of other numbers than uint8."""
    if _innermost(field.type) is None:
        return ""
    return f": {field.name} must be of uint8, or --pixel-range must give its values of black and white, such as 0 1"


def _innermost(data_type: pa.DataType) -> pa.DataType | None:
    """The type of the numbers in a tensor or in nested lists; None if it is neither."""
    if isinstance(data_type, pa.BaseExtensionType):
        data_type = data_type.storage_type
    if not _is_list(data_type):
        return None
    while _is_list(data_type):
        data_type = data_type.value_type
    is_number = pa.types.is_integer(data_type) or pa.types.is_floating(data_type)
    return data_type if is_number else None


def plain_type(data_type: pa.DataType) -> pa.DataType:
    """Output type of a kept column: dictionaries decoded, so that tables from many files concatenate."""
    return data_type.value_type if pa.types.is_dictionary(data_type) else data_type


def _columns(schema: pa.Schema) -> str:
    return "columns: " + ", ".join(f"{field.name} {field.type}" for field in schema)


def _declared_shape(schema: pa.Schema) -> tuple[int, ...] | None:
    text = (schema.metadata or {}).get(SHAPE_KEY)
    if text is None:
        return None
    try:
        shape = json.loads(text)
        good = len(shape) == 3 and _are_sizes(shape)
    except (ValueError, TypeError, RecursionError):
        good = False
    if not good:
        raise LayoutError(f"the schema metadata vae.shape must be [channels, height, width], got {text!r:.100}")
    return tuple(shape)


def _are_sizes(shape: object) -> bool:
    return isinstance(shape, list) and all(type(size) is int and 0 < size < 1 << 31 for size in shape)


def _check_count(column: str, declared: tuple[int, ...] | None, stored: int) -> None:
    if declared is not None and math.prod(declared) != stored:
        raise LayoutError(
            f"rows of {column} must have {math.prod(declared)} bytes, as the schema metadata vae.shape "
            f"{list(declared)} declares, got {stored}"
        )


def _is_bytes(data_type: pa.DataType) -> bool:
    types = pa.types
    return any(test(data_type) for test in (types.is_binary, types.is_large_binary, types.is_binary_view))


def layout_of(
    field: pa.Field, declared: tuple[int, ...] | None = None, levels: tuple[float, float] | None = None
) -> Layout | None:
    """The layout of one column, of the `declared` shape if it is packed, or None if it cannot hold images."""
    data_type = plain_type(field.type)
    if _is_bytes(data_type):
        return Layout(field.name, "encoded")
    if pa.types.is_struct(data_type):
        index = data_type.get_field_index("bytes")
        if index >= 0 and _is_bytes(plain_type(data_type.field(index).type)):
            return Layout(field.name, "encoded", field="bytes")
        return None
    if pa.types.is_fixed_size_binary(data_type):
        _check_count(field.name, declared, data_type.byte_width)
        return Layout(field.name, "packed", shape=declared, axes="CHW" if declared else "", levels=levels)
    return _list_layout(field, declared, levels)


def _list_layout(
    field: pa.Field, declared: tuple[int, ...] | None, levels: tuple[float, float] | None
) -> Layout | None:
    data_type, shape, axes = field.type, None, ""
    if isinstance(data_type, pa.FixedShapeTensorType):
        order = data_type.permutation
        if order is not None and list(order) != sorted(order):
            return None  # no known writer permutes images; reject them rather than transpose
        shape, axes = tuple(data_type.shape), "".join(data_type.dim_names or ()).upper()
        data_type = data_type.storage_type
    elif isinstance(data_type, pa.BaseExtensionType):
        shape = getattr(data_type, "shape", None)
        data_type = data_type.storage_type
    elif (field.metadata or {}).get(b"ARROW:extension:name", b"").startswith(b"ray.data.arrow_tensor"):
        # Ray's tensor type, in a process where it is not registered.
        try:
            shape = json.loads(field.metadata.get(b"ARROW:extension:metadata", b"null"))
        except (ValueError, RecursionError):
            shape = None
        shape = shape if _are_sizes(shape) else None
    fixed: list[int] = []
    depth = 0
    while _is_list(data_type):
        depth += 1
        if pa.types.is_fixed_size_list(data_type):
            fixed.append(data_type.list_size)
        data_type = data_type.value_type
    is_number = pa.types.is_integer(data_type) or pa.types.is_floating(data_type)
    if depth == 0 or depth > 3 or not (is_number if levels else pa.types.is_uint8(data_type)):
        return None
    if shape is None and depth > 1 and len(fixed) == depth:
        shape = tuple(fixed)
    if shape is None and depth == 1 and declared is not None:
        if fixed:
            _check_count(field.name, declared, fixed[0])
        shape, axes = declared, "CHW"
    if shape is not None and len(shape) not in (2, 3):
        shape, axes = None, ""
    known = axes if shape is not None and axes in ("CHW", "HWC", "HW") and len(axes) == len(shape) else ""
    return Layout(field.name, "lists", shape=None if shape is None else tuple(shape), axes=known, levels=levels)


def _is_list(data_type: pa.DataType) -> bool:
    types = pa.types
    return any(test(data_type) for test in (types.is_list, types.is_large_list, types.is_fixed_size_list))
