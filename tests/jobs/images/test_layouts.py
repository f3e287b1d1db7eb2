"""Every layout gives the same images, for any range of rows."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from export.images.contract import ImageContract
from image_files import LAYOUTS, encode, flat, join, nested, packed, pictures, pngs, tensor, write_parquet
from jobs.images.layout import LayoutError, find_layout
from jobs.images.options import ColumnOptions
from jobs.images.pixels import view_batch
from jobs.images.reader import read_images
from jobs.images.source import find_images, plan_units
from jobs.images.survey import survey
from jobs.images.units import Piece
from vae_core.errors import UserError

SHAPES = [(1, 6, 5), (3, 8, 7), (4, 5, 6)]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_every_layout_gives_the_same_images(tmp_path: Path, layout: str, shape: tuple[int, int, int]) -> None:
    images = pictures(25, shape)
    column, metadata = LAYOUTS[layout](images)
    path = write_parquet(tmp_path / "a.parquet", column, metadata, row_group_size=10, label=list(range(25)))
    found = find_images([path])
    batch = join(list(read_images(found.pieces, ImageContract(*shape), ["label"], batch_rows=4)))
    np.testing.assert_array_equal(batch.images, images)
    assert batch.images.flags.c_contiguous
    assert batch.images.dtype == np.uint8
    assert batch.keys.to_pydict() == {
        "file": [path] * 25,
        "row": list(range(25)),
        "label": list(range(25)),
    }
    assert len(batch.errors) == 0


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_piece_may_begin_and_end_inside_a_row_group(tmp_path: Path, layout: str) -> None:
    images = pictures(30)
    column, metadata = LAYOUTS[layout](images)
    path = write_parquet(tmp_path / "a.parquet", column, metadata, row_group_size=15)
    for start, stop in [(0, 1), (3, 11), (14, 15), (7, 15)]:
        piece = Piece(path, 1, start, stop, 15 + start)
        batch = join(list(read_images([piece], ImageContract(1, 6, 5), batch_rows=4)))
        np.testing.assert_array_equal(batch.images, images[15 + start : 15 + stop])
        assert batch.keys["row"].to_pylist() == list(range(15 + start, 15 + stop))


@pytest.mark.parametrize("layout", [name for name in LAYOUTS if "undeclared" not in name or "HWC" in name])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_shape_is_read_from_the_images(tmp_path: Path, layout: str, shape: tuple[int, int, int]) -> None:
    column, metadata = LAYOUTS[layout](pictures(3, shape))
    path = write_parquet(tmp_path / "a.parquet", column, metadata)
    assert survey(find_images([path])).shape == shape


def test_an_undeclared_shape_is_an_error(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "a.parquet", packed(pictures(3)))
    with pytest.raises(UserError, match=r"vae\.shape"):
        _ = survey(find_images([path])).shape


@pytest.mark.parametrize("layout", LAYOUTS)
def test_null_images_are_errors_and_their_neighbours_are_not(tmp_path: Path, layout: str) -> None:
    images = pictures(12)
    column, metadata = LAYOUTS[layout](images)
    null = [3, 4, 9]
    kept = [row for row in range(12) if row not in null]
    choice = pa.array([None if row in null else row for row in range(12)], pa.int64())
    path = write_parquet(tmp_path / "a.parquet", column.take(choice), metadata)
    batch = join(list(read_images(find_images([path]).pieces, ImageContract(1, 6, 5), batch_rows=5)))
    np.testing.assert_array_equal(batch.images, images[kept])
    assert batch.keys["row"].to_pylist() == kept
    assert batch.errors["row"].to_pylist() == null
    assert all(reason.startswith("the image is null") for reason in batch.errors["reason"].to_pylist())


def test_grey_tensors_need_no_channel_axis(tmp_path: Path) -> None:
    images = pictures(4)
    path = write_parquet(tmp_path / "a.parquet", tensor(images[:, 0]))
    assert survey(find_images([path])).shape == (1, 6, 5)
    batch = join(list(read_images(find_images([path]).pieces, ImageContract(1, 6, 5))))
    np.testing.assert_array_equal(batch.images, images)


def test_lists_may_differ_in_shape_from_row_to_row(tmp_path: Path) -> None:
    small, large = pictures(2, (1, 4, 4)), pictures(2, (1, 8, 8))
    column = nested(small).to_pylist() + nested(large).to_pylist() + [[[[1, 2], [3]]], [[[None] * 4] * 4]]
    path = write_parquet(tmp_path / "a.parquet", pa.array(column, nested(small).type))
    pieces = find_images([path]).pieces
    exact = join(list(read_images(pieces, ImageContract(1, 4, 4))))
    np.testing.assert_array_equal(exact.images, small)
    assert exact.errors["row"].to_pylist() == [2, 3, 4, 5]
    assert "8×8" in exact.errors["reason"][0].as_py()
    resized = join(list(read_images(pieces, ImageContract(1, 4, 4, resize=True))))
    assert resized.keys["row"].to_pylist() == [0, 1, 2, 3]
    np.testing.assert_array_equal(resized.images[:2], small)


@pytest.mark.parametrize("layout", ["packed", "tensor CHW", "lists", "flat list"])
def test_another_stored_shape_is_refused_or_resized(tmp_path: Path, layout: str) -> None:
    column, metadata = LAYOUTS[layout](pictures(3, (3, 8, 8)))
    path = write_parquet(tmp_path / "a.parquet", column, metadata)
    pieces = find_images([path]).pieces
    refused = join(list(read_images(pieces, ImageContract(1, 4, 4))))
    assert len(refused.images) == 0
    assert refused.errors["reason"][0].as_py() == (
        "the image must be 4×4 grey, got 8×8 RGB; use --resize to convert it"
    )
    resized = join(list(read_images(pieces, ImageContract(1, 4, 4, resize=True))))
    assert resized.images.shape == (3, 1, 4, 4)


def test_packed_images_are_views_of_the_arrow_buffer() -> None:
    images = pictures(10)
    array = packed(images).slice(3, 5)
    layout = find_layout(pa.schema({"image": array.type}, metadata={"vae.shape": "[1, 6, 5]"}))
    decoded = view_batch(array, layout, ImageContract(1, 6, 5))
    np.testing.assert_array_equal(decoded.images, images[3:8])
    assert decoded.images.ctypes.data == array.buffers()[1].address + 3 * 30


def test_the_column_named_image_takes_precedence() -> None:
    two = pa.schema({"thumbnail": pa.binary(), "image": pa.binary()})
    assert find_layout(two).column == "image"


def test_the_only_image_like_column_is_used() -> None:
    schema = pa.schema({"id": pa.string(), "sha": pa.binary(16), "img": pa.struct({"bytes": pa.binary()})})
    assert find_layout(schema).leaf == "img.bytes"


@pytest.mark.parametrize(
    ("schema", "reason"),
    [
        (
            pa.schema({"a": pa.binary(), "b": pa.binary()}),
            r"several .*\(a, b\); name the right one with --image-column",
        ),
        (pa.schema({"a": pa.int64(), "b": pa.string()}), "no column holds images .*a int64, b string"),
        (pa.schema({"image": pa.string()}), "the column image must hold images, got string"),
        (
            pa.schema({"image": pa.list_(pa.float32())}),
            "must hold images, got list<.*float>: image must be of uint8, or --pixel-range must give",
        ),
        (pa.schema({"x": pa.list_(pa.int64())}), "no column holds images: x must be of uint8, or --pixel-range"),
        (
            pa.schema({"image": pa.binary(9)}, metadata={"vae.shape": "[1, 2"}),
            r"vae\.shape must be \[channels, height, width\], got",
        ),
        (
            pa.schema({"image": pa.binary(9)}, metadata={"vae.shape": "[1, 2, 3]"}),
            r"rows of image must have 6 bytes, .*\[1, 2, 3\] declares, got 9",
        ),
    ],
)
def test_schemas_without_exactly_one_image_column_are_errors(schema: pa.Schema, reason: str) -> None:
    with pytest.raises(LayoutError, match=reason):
        find_layout(schema)


def test_ray_tensors_are_read_with_and_without_ray(tmp_path: Path) -> None:
    images = pictures(4, (3, 6, 5))
    field = pa.field(
        "image",
        pa.list_(pa.uint8()),
        metadata={"ARROW:extension:name": "ray.data.arrow_tensor", "ARROW:extension:metadata": "[3, 6, 5]"},
    )
    assert find_layout(pa.schema([field])).shape == (3, 6, 5)
    column = pa.array(images.reshape(4, -1).tolist(), pa.list_(pa.uint8()))
    decoded = view_batch(column, find_layout(pa.schema([field])), ImageContract(3, 6, 5))
    np.testing.assert_array_equal(decoded.images, images)


def test_encoded_images_of_many_formats_share_a_column(tmp_path: Path) -> None:
    image = pictures(1, (3, 6, 5))[0]
    forms = ["PNG", "BMP", "TIFF", "PPM"]
    path = write_parquet(tmp_path / "a.parquet", pa.array([encode(image, form) for form in forms]))
    batch = join(list(read_images(find_images([path]).pieces, ImageContract(3, 6, 5))))
    for decoded in batch.images:
        np.testing.assert_array_equal(decoded, image)


def test_views_and_slices_of_binary_columns_decode_alike() -> None:
    from export.images.decode import decode_batch

    images = pictures(8)
    array = pa.array(pngs(images))
    for stored in (
        array.slice(2, 5),
        array.cast(pa.large_binary()).slice(2, 5),
        array.cast(pa.binary_view()).slice(2, 5),
    ):
        np.testing.assert_array_equal(decode_batch(stored, ImageContract(1, 6, 5)).images, images[2:7])


def test_sliced_lists_respect_their_offset() -> None:
    images = pictures(8)
    array = pa.FixedSizeListArray.from_arrays(flat(images), 30).slice(2, 5)
    layout = find_layout(pa.schema({"image": array.type}))
    np.testing.assert_array_equal(view_batch(array, layout, ImageContract(1, 6, 5)).images, images[2:7])


@pytest.mark.parametrize("shape", [b"", b"{", b"null", b'"x"', b"3", b"[true, 2]", b"[-1, 2]", b"\xff", b"[" * 100_000])
@pytest.mark.parametrize("key", ["vae.shape", "ARROW:extension:metadata"])
def test_a_shape_that_is_none_is_a_sentence_or_unknown(key: str, shape: bytes) -> None:
    declares = {"ARROW:extension:name": "ray.data.arrow_tensor_v2", key: shape}
    field = pa.field("image", pa.list_(pa.uint8()), metadata=declares if key != "vae.shape" else None)
    schema = pa.schema([field], metadata={key: shape} if key == "vae.shape" else None)
    if key == "vae.shape":
        with pytest.raises(LayoutError, match=r"vae.shape must be \[channels, height, width\], got"):
            find_layout(schema)
    else:
        assert find_layout(schema).shape is None


# ---- Columns as people have them


@pytest.mark.parametrize("encoded", [pa.binary(), pa.large_binary()], ids=str)
def test_dictionary_encoded_images_are_read(tmp_path: Path, encoded: pa.DataType) -> None:
    images = pictures(3)
    column = pa.array([pngs(images)[row] for row in (0, 1, 1, 2, 0)], encoded).dictionary_encode()
    path = write_parquet(tmp_path / "a.parquet", column)
    batch = join(list(read_images(find_images([path]).pieces, ImageContract(1, 6, 5), batch_rows=2)))
    np.testing.assert_array_equal(batch.images, images[[0, 1, 1, 2, 0]])


def test_the_image_column_can_be_named(tmp_path: Path) -> None:
    """Even where another is called image, or would be taken for it."""
    left, right = pictures(2), pictures(2, seed=1)
    path = write_parquet(tmp_path / "a.parquet", pa.array(pngs(left)), photo=pa.array(pngs(right)), label=[1, 2])
    for column, images in ((None, left), ("image", left), ("photo", right)):
        found = find_images([path], columns=ColumnOptions(image_column=column))
        batch = join(list(read_images(found.pieces, ImageContract(1, 6, 5))))
        np.testing.assert_array_equal(batch.images, images)
    found = find_images([path], columns=ColumnOptions(image_column="photo"))
    assert found.columns.names == ["input_image", "label"]
    assert found.fingerprint != find_images([path]).fingerprint
    assert plan_units(found)[0].to_json() != plan_units(find_images([path]))[0].to_json()
    with pytest.raises(UserError, match=r"--image-column must name a column, got nothing \(columns: image binary"):
        find_images([path], columns=ColumnOptions(image_column="nothing"))
    with pytest.raises(UserError, match=r"the column label must hold images, got int64; name another"):
        find_images([path], columns=ColumnOptions(image_column="label"))


@pytest.mark.parametrize(
    ("kind", "black", "white"),
    [
        (pa.float32(), 0.0, 1.0),
        (pa.float64(), -1.0, 1.0),
        (pa.float64(), 1.0, 0.0),  # inverted
        (pa.int64(), 0.0, 255.0),
        (pa.uint16(), 0.0, 65535.0),
    ],
    ids=str,
)
@pytest.mark.parametrize("shape", ["nested", "tensor"])
def test_lists_of_other_numbers_are_read_if_their_range_is_given(
    tmp_path: Path, kind: pa.DataType, black: float, white: float, shape: str
) -> None:
    images = pictures(4, (3, 6, 5))
    values = black + (white - black) * images.astype(np.float64) / 255
    values = np.round(values) if pa.types.is_integer(kind) else values
    column = pa.array(values.reshape(4, -1).tolist(), pa.list_(kind, 90))
    if shape == "tensor":
        column = pa.ExtensionArray.from_storage(pa.fixed_shape_tensor(kind, (3, 6, 5)), column)
    else:
        column = pa.array(values.tolist(), pa.list_(pa.list_(pa.list_(kind))))
    path = write_parquet(tmp_path / "a.parquet", column)
    with pytest.raises(UserError, match="must be of uint8, or --pixel-range must give its values of black and white"):
        find_images([path])
    found = find_images([path], columns=ColumnOptions(pixel_range=(black, white)))
    assert survey(found).shape == (3, 6, 5)
    batch = join(list(read_images(found.pieces, ImageContract(3, 6, 5))))
    np.testing.assert_array_equal(batch.images, images)


@pytest.mark.parametrize("value", [1.5, -0.1, float("nan"), float("inf")])
def test_a_value_out_of_range_is_an_error_of_its_row(tmp_path: Path, value: float) -> None:
    rows = np.full((3, 2, 2), 0.5)
    rows[1, 0, 0] = value
    path = write_parquet(tmp_path / "a.parquet", pa.array(rows.tolist()))
    found = find_images([path], columns=ColumnOptions(pixel_range=(0, 1)))
    batch = join(list(read_images(found.pieces, ImageContract(1, 2, 2))))
    assert batch.images.tolist() == [[[[128, 128], [128, 128]]]] * 2
    assert batch.errors["reason"].to_pylist() == ["values must lie between 0 and 1, as --pixel-range says"]


@pytest.mark.parametrize("levels", [(0.0, 0.0), (0.0, float("inf")), (float("nan"), 1.0)])
def test_black_and_white_must_differ(tmp_path: Path, levels: tuple[float, float]) -> None:
    path = write_parquet(tmp_path / "a.parquet", pa.array([[[0.5]]]))
    with pytest.raises(UserError, match="--pixel-range must give two different numbers, got"):
        find_images([path], columns=ColumnOptions(pixel_range=levels))


def test_a_path_beside_missing_bytes_is_not_read(tmp_path: Path) -> None:
    """It may name any file of this machine."""
    column = pa.array([{"bytes": None, "path": "/etc/hostname"}, {"bytes": encode(pictures(1)[0]), "path": None}])
    path = write_parquet(tmp_path / "a.parquet", column)
    batch = join(list(read_images(find_images([path]).pieces, ImageContract(1, 6, 5))))
    assert batch.errors["reason"].to_pylist() == [
        "the image is null: its bytes must be in the column, a path beside them is not read"
    ]
