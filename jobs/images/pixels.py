"""Images stored as raw pixels: zero-copy views of Arrow buffers where possible."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from export.images.contract import NULL, BadImage, ImageContract
from export.images.convert import fit
from export.images.decode import Decoded
from jobs.images.layout import Layout


def view_batch(stored: pa.Array, layout: Layout, contract: ImageContract) -> Decoded:
    """Packed images, tensors or lists as [n, C, H, W].

    Zero-copy, hence read-only, if the images have the model's shape, are stored planar and none is null. With a
    contract that accepts larger images there is one, of its own size.
    """
    if contract.larger:
        try:
            _, height, width = stored_shape(layout, stored)
            return view_batch(stored, layout, contract.of_size(height, width))
        except BadImage as error:
            return Decoded(_empty(contract), {0: str(error)})
    try:
        rows, shape = _uniform(stored, layout)
    except (_Ragged, _OutOfRange):
        return _row_by_row(stored, layout, contract)
    nulls = np.flatnonzero(~_valid(stored)).tolist() if stored.null_count else ()
    reasons = dict.fromkeys(nulls, NULL)
    try:
        images = _planar(rows.reshape(len(stored), *shape), layout, contract)
    except BadImage as error:
        return _all_bad(stored, reasons, str(error), contract)
    if reasons:
        images = np.delete(images, list(reasons), axis=0)
    if images.shape[1:] == contract.shape:
        return Decoded(np.ascontiguousarray(images), reasons)
    try:
        fitted = [fit(image.transpose(1, 2, 0), contract) for image in images]
    except BadImage as error:  # all have one shape, so all fail alike
        return _all_bad(stored, reasons, str(error), contract)
    return Decoded(np.stack(fitted) if fitted else _empty(contract), reasons)


def stored_shape(layout: Layout, stored: pa.Array) -> tuple[int, int, int]:
    """(C, H, W) of the first image of a batch.

    Raises:
        BadImage: it is null, or its shape is not declared.
    """
    first = stored.slice(0, 1)
    if first.null_count:
        raise BadImage(NULL)
    try:
        rows, shape = _uniform(first, layout)
    except _Ragged as error:
        raise BadImage("the image's rows must have equal lengths") from error
    except _OutOfRange as error:
        raise BadImage("values must lie between those of --pixel-range") from error
    if len(shape) == 1:
        raise BadImage(
            f"the shape of its {shape[0]} bytes must be declared; add the schema metadata vae.shape = [C, H, W]"
        )
    channels, height, width = _to_planar(rows.reshape(1, *shape), layout).shape[1:]
    return channels, height, width


class _OutOfRange(ValueError):
    """A value is not between those of black and white."""


class _Ragged(ValueError):
    """The images of a batch differ in shape."""


def _empty(contract: ImageContract) -> npt.NDArray[np.uint8]:
    return np.empty((0, *contract.shape), np.uint8)


def _all_bad(stored: pa.Array, reasons: dict[int, str], reason: str, contract: ImageContract) -> Decoded:
    return Decoded(_empty(contract), {row: reasons.get(row, reason) for row in range(len(stored))})


def _valid(stored: pa.Array) -> npt.NDArray[np.bool_]:
    valid: npt.NDArray[np.bool_] = stored.is_valid().to_numpy(zero_copy_only=False)
    return valid


def _uniform(stored: pa.Array, layout: Layout) -> tuple[npt.NDArray[np.uint8], tuple[int, ...]]:
    """All bytes of a batch and the shape shared by its images, one-dimensional if not declared; raises _Ragged."""
    count = len(stored)
    if isinstance(stored, pa.ExtensionArray):
        stored = stored.storage
    if pa.types.is_fixed_size_binary(stored.type):
        width = stored.type.byte_width
        buffer = stored.buffers()[1]
        if buffer is None:
            return np.zeros(count * width, np.uint8), layout.shape or (width,)
        data = np.frombuffer(buffer, np.uint8)[stored.offset * width : (stored.offset + count) * width]
        return _to_bytes(data, layout.levels), _image_shape(layout, width)
    sizes: list[int] = []
    while not (pa.types.is_integer(stored.type) or pa.types.is_floating(stored.type)):
        stored, size = _unnest(stored)
        sizes.append(size)
    if stored.null_count:
        raise _Ragged
    data = _to_bytes(stored.to_numpy(), layout.levels) if len(stored) else np.empty(0, np.uint8)
    if len(sizes) > 1:
        return data, tuple(sizes)
    return data, _image_shape(layout, sizes[0])


def _to_bytes(values: npt.NDArray[Any], levels: tuple[float, float] | None) -> npt.NDArray[np.uint8]:
    """Values as grey levels: as they are, or black at the first level and white at the second; raises _OutOfRange."""
    if levels is None:
        return values
    black, white = levels
    fractions = (values.astype(np.float64) - black) / (white - black)
    if not ((fractions >= 0) & (fractions <= 1)).all():  # NaN, too
        raise _OutOfRange
    return np.floor(255 * fractions + 0.5).astype(np.uint8)


def _image_shape(layout: Layout, count: int) -> tuple[int, ...]:
    """The declared shape, if it has `count` values; else (count,)."""
    return layout.shape if layout.shape is not None and layout.pixels == count else (count,)


def _unnest(array: pa.Array) -> tuple[pa.Array, int]:
    """The values of a list array whose lists have equal lengths, and that length; raises _Ragged."""
    if pa.types.is_fixed_size_list(array.type):
        size = array.type.list_size
        return array.values.slice(array.offset * size, len(array) * size), size
    offsets = array.offsets.to_numpy()
    lengths = np.diff(offsets)
    if len(lengths) == 0:
        raise _Ragged
    if (lengths != lengths[0]).any():
        raise _Ragged
    return array.values.slice(int(offsets[0]), int(offsets[-1] - offsets[0])), int(lengths[0])


def _planar(images: npt.NDArray[np.uint8], layout: Layout, contract: ImageContract) -> npt.NDArray[np.uint8]:
    """As [n, C, H, W]; flat images get the model's shape."""
    if images.ndim > 2:
        return _to_planar(images, layout)
    if images.shape[1] != contract.nbytes:
        raise BadImage(
            f"the image must have {contract.nbytes:,} bytes, got {images.shape[1]:,}; add the schema metadata "
            "vae.shape = [C, H, W] and use --resize"
        )
    return images.reshape(len(images), *contract.shape)


def _to_planar(images: npt.NDArray[np.uint8], layout: Layout) -> npt.NDArray[np.uint8]:
    if images.ndim == 3:
        return images[:, None]
    axes = layout.axes
    if not axes:
        # [C, H, W], the default of this system, unless only the last dimension can be the channels.
        axes = "HWC" if images.shape[3] <= 4 < images.shape[1] else "CHW"
    planar = images.transpose(0, 3, 1, 2) if axes == "HWC" else images
    if planar.shape[1] > 4:
        raise BadImage(f"an image must have 1 to 4 channels, got {planar.shape[1]}")
    return planar


def _row_by_row(stored: pa.Array, layout: Layout, contract: ImageContract) -> Decoded:
    """Lists of differing shapes, one row at a time."""
    images: list[npt.NDArray[np.uint8]] = []
    reasons: dict[int, str] = {}
    for row, valid in enumerate(_valid(stored).tolist()):
        try:
            if not valid:
                raise BadImage(NULL)
            rows, shape = _uniform(stored.slice(row, 1), layout)
            image = _planar(rows.reshape(1, *shape), layout, contract)[0]
            images.append(fit(image.transpose(1, 2, 0), contract))
        except _Ragged:
            reasons[row] = "the image's rows must have equal lengths and no nulls"
        except _OutOfRange:
            black, white = layout.levels or (0, 255)
            reasons[row] = f"values must lie between {black:g} and {white:g}, as --pixel-range says"
        except BadImage as error:
            reasons[row] = str(error)
    return Decoded(np.stack(images) if images else _empty(contract), reasons)
