"""Small images in every layout that the reader supports."""

import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pyarrow.parquet.encryption as encryption
from PIL import Image

from jobs.images.batches import ImageBatch

Pixels = np.ndarray  # uint8 [n, C, H, W]


def pictures(count: int, shape: tuple[int, int, int] = (1, 6, 5), seed: int = 0) -> Pixels:
    return np.random.default_rng(seed).integers(0, 256, (count, *shape), dtype=np.uint8)


def encode(image: np.ndarray, form: str = "PNG", **options: object) -> bytes:
    """Encode an image [C, H, W] (or [H, W], or a Pillow image)."""
    if isinstance(image, np.ndarray):
        array = image.transpose(1, 2, 0) if image.ndim == 3 else image
        image = Image.fromarray(array[..., 0] if array.ndim == 3 and array.shape[2] == 1 else array)
    stream = io.BytesIO()
    image.save(stream, form, **options)
    return stream.getvalue()


def pngs(images: Pixels) -> list[bytes]:
    return [encode(image) for image in images]


def flat(images: Pixels) -> pa.Array:
    return pa.array(images.reshape(-1), pa.uint8())


def packed(images: Pixels) -> pa.Array:
    return pa.array([image.tobytes() for image in images], pa.binary(images[0].size))


def nested(images: Pixels) -> pa.Array:
    """Nested variable-length lists."""
    value: pa.DataType = pa.uint8()
    for _ in images.shape[1:]:
        value = pa.list_(value)
    return pa.array(images.tolist(), value)


def nested_fixed(images: Pixels) -> pa.Array:
    array = flat(images)
    for size in reversed(images.shape[1:]):
        array = pa.FixedSizeListArray.from_arrays(array, size)
    return array


def tensor(images: np.ndarray, names: list[str] | None = None) -> pa.Array:
    kind = pa.fixed_shape_tensor(pa.uint8(), images.shape[1:], dim_names=names)
    storage = pa.FixedSizeListArray.from_arrays(flat(images), images[0].size)
    return pa.ExtensionArray.from_storage(kind, storage)


def huggingface(images: Pixels) -> pa.Array:
    return pa.array([{"bytes": png, "path": None} for png in pngs(images)])


def _shaped(images: Pixels) -> dict[str, str]:
    return {"vae.shape": json.dumps(list(images.shape[1:]))}


# layout → function from images to (column, schema metadata)
LAYOUTS: dict[str, Callable[[Pixels], tuple[pa.Array, dict[str, str]]]] = {
    "huggingface": lambda images: (huggingface(images), {}),
    "encoded": lambda images: (pa.array(pngs(images), pa.binary()), {}),
    "encoded, large": lambda images: (pa.array(pngs(images), pa.large_binary()), {}),
    "packed": lambda images: (packed(images), _shaped(images)),
    "packed, shape undeclared": lambda images: (packed(images), {}),
    "tensor CHW": lambda images: (tensor(images), {}),
    "tensor HWC": lambda images: (
        tensor(np.ascontiguousarray(images.transpose(0, 2, 3, 1)), ["H", "W", "C"]),
        {},
    ),
    "tensor HWC, undeclared": lambda images: (tensor(np.ascontiguousarray(images.transpose(0, 2, 3, 1))), {}),
    "lists": lambda images: (nested(images), {}),
    "lists, fixed": lambda images: (nested_fixed(images), {}),
    "flat list": lambda images: (
        pa.FixedSizeListArray.from_arrays(flat(images), images[0].size),
        _shaped(images),
    ),
    "flat list, shape undeclared": lambda images: (
        pa.array(images.reshape(len(images), -1).tolist(), pa.list_(pa.uint8())),
        {},
    ),
}


def write_parquet(
    path: Path,
    column: pa.Array,
    metadata: dict[str, str] | None = None,
    row_group_size: int = 1 << 20,
    name: str = "image",
    **columns: object,
) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pa.table({name: column, **columns})
    pq.write_table(table.replace_schema_metadata(metadata or {}), path, row_group_size=row_group_size)
    return str(path)


def join(batches: list[ImageBatch]) -> ImageBatch:
    """Concatenate batches."""
    images, keys, errors = zip(*batches, strict=True)
    return ImageBatch(
        np.concatenate(images),
        pa.concat_tables(keys, promote_options="default"),
        pa.concat_tables(errors, promote_options="default"),
    )


class _Keys(encryption.KmsClient):
    """Stores keys as they are."""

    def __init__(self, _: object) -> None:
        super().__init__()

    def wrap_key(self, key: bytes, _: str) -> bytes:
        return key


def encrypted(table: pa.Table, column: str, plaintext_footer: bool = True) -> bytes:
    """A table as a Parquet file with an encrypted column."""
    configuration = encryption.EncryptionConfiguration(
        "footer", column_keys={"key": [column]}, plaintext_footer=plaintext_footer
    )
    properties = encryption.CryptoFactory(_Keys).file_encryption_properties(
        encryption.KmsConnectionConfig(custom_kms_conf={}), configuration
    )
    stream = io.BytesIO()
    with pq.ParquetWriter(stream, table.schema, encryption_properties=properties) as writer:
        writer.write_table(table)
    return stream.getvalue()
