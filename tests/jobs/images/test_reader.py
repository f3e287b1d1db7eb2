"""Every row appears exactly once, as an image or as an error, whatever its file or its neighbours."""

import os
import uuid
from pathlib import Path
from typing import ClassVar

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from export.images.contract import MAX_ENCODED_BYTES, ImageContract
from image_files import encode, huggingface, join, packed, pictures, pngs, write_parquet
from jobs.images import parquet, reader
from jobs.images.reader import read_images, read_unit
from jobs.images.source import find_images, plan_units
from jobs.images.survey import survey
from jobs.images.units import Piece
from vae_core.errors import StorageFailed, UserError

GREY = ImageContract(1, 6, 5)
SHAPE = {"vae.shape": "[1, 6, 5]"}


def mixed_input(folder: Path) -> np.ndarray:
    """Images in several layouts and files, in the order of the files' names, with one bad row in each."""
    images = pictures(60)
    broken = [*pngs(images[20:30]), b"broken", *pngs(images[30:40])]
    write_parquet(folder / "a.parquet", packed(images[:20]), SHAPE, row_group_size=3)
    write_parquet(folder / "b.parquet", pa.array(broken), row_group_size=8)
    for number, png in enumerate(pngs(images[40:])):
        (folder / f"c{number:02}.png").write_bytes(png)
    (folder / "c05-text.png").write_text("no image at all")
    return images


@pytest.mark.parametrize("batch_rows", [1, 2, 7, 1000])
@pytest.mark.parametrize("unit_rows", [1, 5, 16, None])
def test_neither_batches_nor_units_change_what_is_read(tmp_path: Path, batch_rows: int, unit_rows: int | None) -> None:
    images = mixed_input(tmp_path)
    units = plan_units(find_images([str(tmp_path)]), unit_rows)
    batches = [batch for unit in units for batch in read_unit(unit, GREY, batch_rows=batch_rows)]
    assert max(len(batch.keys) + len(batch.errors) for batch in batches) <= batch_rows
    batch = join(batches)
    np.testing.assert_array_equal(batch.images, images)
    errors = [(Path(row["file"]).name, row["row"]) for row in batch.errors.to_pylist()]
    assert errors == [("b.parquet", 10), ("c05-text.png", 0)]
    files = [Path(file).name for file in batch.keys["file"].to_pylist()]
    assert files == ["a.parquet"] * 20 + ["b.parquet"] * 20 + [f"c{number:02}.png" for number in range(20)]
    assert batch.keys["row"].to_pylist() == [*range(20), *range(10), *range(11, 21), *[0] * 20]


def test_small_files_share_batches(tmp_path: Path) -> None:
    mixed_input(tmp_path)
    pieces = find_images([str(tmp_path)]).pieces
    assert len(list(read_images(pieces, GREY, batch_rows=1000))) == 1


def test_errors_carry_the_columns_of_their_rows(tmp_path: Path) -> None:
    column = pa.array([*pngs(pictures(2)), b"broken", None])
    path = write_parquet(tmp_path / "a.parquet", column, id=["p", "q", "r", "s"])
    found = find_images([path])
    batch = join(list(read_images(found.pieces, GREY, found.keep(["id"]))))
    assert batch.keys["id"].to_pylist() == ["p", "q"]
    assert [(row["row"], row["id"]) for row in batch.errors.to_pylist()] == [(2, "r"), (3, "s")]
    assert batch.errors.schema == pa.schema(
        {"file": pa.string(), "row": pa.int64(), "id": pa.string(), "reason": pa.string()}
    )


def test_a_schema_of_columns_gives_every_file_the_same_types(tmp_path: Path) -> None:
    for name, kind in (("a", pa.int32()), ("b", pa.int64()), ("c", pa.dictionary(pa.int8(), pa.int64()))):
        write_parquet(tmp_path / f"{name}.parquet", packed(pictures(2)), SHAPE, label=pa.array([1, 2], kind))
    found = find_images([str(tmp_path)])
    for piece in found.pieces:
        for batch in read_images([piece], GREY, found.keep(["label"])):
            assert batch.keys.schema.field("label").type == pa.int64()
            assert batch.keys["label"].to_pylist() == [1, 2]


def test_bad_files_come_first_with_a_null_row(tmp_path: Path) -> None:
    write_parquet(tmp_path / "b.parquet", packed(pictures(2)), SHAPE, label=[1, 2])
    (tmp_path / "a.parquet").write_text("text")
    found = find_images([str(tmp_path)])
    first, *rest = read_unit(plan_units(found)[0], GREY, found.keep(["label"]))
    assert len(first.images) == len(first.keys) == 0
    assert [(row["file"], row["row"], row["label"]) for row in first.errors.to_pylist()] == [
        (str(tmp_path / "a.parquet"), None, None)
    ]
    assert first.errors.schema == rest[0].errors.schema
    assert first.keys.schema == rest[0].keys.schema


def test_a_damaged_page_loses_only_the_rows_after_it(tmp_path: Path) -> None:
    images = pictures(40, seed=1)
    path = write_parquet(tmp_path / "a.parquet", packed(images), SHAPE, row_group_size=10)
    chunk = pq.read_metadata(path).row_group(1).column(0)
    data = bytearray(Path(path).read_bytes())
    start = chunk.dictionary_page_offset or chunk.data_page_offset
    data[start : start + chunk.total_compressed_size] = b"\xff" * chunk.total_compressed_size
    Path(path).write_bytes(data)
    batch = join(list(read_images(find_images([path]).pieces, GREY)))
    np.testing.assert_array_equal(batch.images, np.concatenate([images[:10], images[20:]]))
    assert batch.errors["row"].to_pylist() == list(range(10, 20))
    assert "cannot be read from its file" in batch.errors["reason"][0].as_py()


def test_files_that_vanish_or_shrink_after_the_plan_become_errors(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        write_parquet(tmp_path / f"{name}.parquet", packed(pictures(6)), SHAPE, row_group_size=3)
    (tmp_path / "d.png").write_bytes(encode(pictures(1)[0]))
    pieces = find_images([str(tmp_path)]).pieces
    (tmp_path / "a.parquet").unlink()
    write_parquet(tmp_path / "b.parquet", packed(pictures(4)), SHAPE, row_group_size=4)
    (tmp_path / "d.png").unlink()
    batch = join(list(read_images(pieces, GREY)))
    good = [(Path(row["file"]).name, row["row"]) for row in batch.keys.to_pylist()]
    bad = [(Path(row["file"]).name, row["row"]) for row in batch.errors.to_pylist()]
    assert sorted(good + bad) == sorted(
        [(f"{name}.parquet", row) for name in "abc" for row in range(6)] + [("d.png", 0)]
    )
    assert {file for file, _ in bad} == {"a.parquet", "b.parquet", "d.png"}
    assert {file for file, _ in good} == {"b.parquet", "c.parquet"}


def test_urls_are_read_as_files_are(tmp_path: Path) -> None:
    images = mixed_input(tmp_path)
    memory = fsspec.filesystem("memory")
    root = f"/{uuid.uuid4().hex}"
    for path in tmp_path.iterdir():
        memory.pipe(f"{root}/{path.name}", path.read_bytes())
    for url in (f"memory:/{root}", f"file://{tmp_path}"):
        batch = join(list(read_images(find_images([url]).pieces, GREY)))
        np.testing.assert_array_equal(batch.images, images)
        assert all(file.startswith(url) for file in batch.keys["file"].to_pylist())
    memory.rm(root, recursive=True)


class Unsteady(MemoryFileSystem):
    """A storage that can become unreachable."""

    protocol = "unsteady"
    store: ClassVar[dict[str, object]] = {}
    pseudo_dirs: ClassVar[list[str]] = [""]
    reachable: ClassVar[bool] = True
    failures: ClassVar[int] = 0  # of the next requests

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return super()._strip_protocol(path.removeprefix("unsteady:/"))

    def _open(self, path: str, *arguments: object, **options: object) -> object:
        Unsteady.failures -= 1
        if not Unsteady.reachable or Unsteady.failures >= 0:
            raise OSError("503 Service Unavailable")
        return super()._open(path, *arguments, **options)


def test_unreachable_storage_stops_the_job_without_error_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fsspec.register_implementation("unsteady", Unsteady, clobber=True)
    mixed_input(tmp_path)
    for path in tmp_path.iterdir():
        Unsteady().pipe(f"/data/{path.name}", path.read_bytes())
    pieces = find_images(["unsteady://data"]).pieces
    Unsteady().pipe("/more/a.parquet", (tmp_path / "a.parquet").read_bytes())
    monkeypatch.setattr(Unsteady, "reachable", False)
    for piece in (pieces[0], pieces[-1]):
        with pytest.raises(OSError, match="503"):
            list(read_images([piece], GREY))
    with pytest.raises(StorageFailed, match="503"):
        find_images(["unsteady://more"])
    monkeypatch.setattr(Unsteady, "reachable", True)
    assert len(join(list(read_images(pieces, GREY))).images) == 60


@pytest.mark.parametrize("name", ["a.parquet", "plain"])
def test_a_passing_failure_of_storage_is_not_taken_for_damage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    fsspec.register_implementation("unsteady", Unsteady, clobber=True)
    content = Path(write_parquet(tmp_path / "a.parquet", packed(pictures(6)), SHAPE)).read_bytes()
    folder = uuid.uuid4().hex  # footers are cached
    Unsteady().pipe(f"/{folder}/{name}", content)
    monkeypatch.setattr(Unsteady, "failures", 1)
    with pytest.raises(StorageFailed, match="503"):
        find_images([f"unsteady://{folder}"])
    images = find_images([f"unsteady://{folder}"])
    assert images.rows == 6
    Unsteady.failures = 1
    with pytest.raises(OSError, match="503"):
        list(read_images(images.pieces, GREY))
    assert len(join(list(read_images(images.pieces, GREY))).images) == 6


def test_damage_of_remote_files_makes_errors(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "a.parquet", packed(pictures(30)), SHAPE, row_group_size=10)
    chunk = pq.read_metadata(path).row_group(1).column(0)
    data = bytearray(Path(path).read_bytes())
    start = chunk.dictionary_page_offset or chunk.data_page_offset
    data[start : start + chunk.total_compressed_size] = b"\xff" * chunk.total_compressed_size
    fsspec.filesystem("memory").pipe(f"/{tmp_path.name}/a.parquet", bytes(data))
    fsspec.filesystem("memory").pipe(f"/{tmp_path.name}/b.parquet", bytes(data[:-20]))
    images = find_images([f"memory://{tmp_path.name}"])
    batch = join(list(read_images(images.pieces, GREY)))
    assert len(batch.images) == 20
    assert batch.errors["row"].to_pylist() == list(range(10, 20))
    assert [Path(file).name for file, _ in images.bad_files] == ["b.parquet"]


def test_a_file_too_large_for_an_image_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(encode(pictures(1)[0]))
    pieces = find_images([str(tmp_path)]).pieces
    os.truncate(tmp_path / "a.png", MAX_ENCODED_BYTES + 1)  # sparse: uses no disk space
    batch = join(list(read_images(pieces, GREY)))
    assert "an image file must have at most" in batch.errors["reason"][0].as_py()
    (tmp_path / "b.png").write_bytes(encode(pictures(1)[0]))
    assert len(find_images([str(tmp_path)]).bad_files) == 1


def test_batches_of_large_images_are_small(tmp_path: Path) -> None:
    side = 6000  # 34 MiB each
    path = write_parquet(tmp_path / "a.parquet", pa.array([encode(np.zeros((1, side, side), np.uint8))] * 2))
    batches = read_images(find_images([path]).pieces, ImageContract(1, side, side))
    assert [len(batch.images) for batch in batches] == [1, 1]


LONG = "0123456789" * 1000
# Columns of 1,000 texts whose mean length in the file says little: values that repeat, long ones among short ones.
UNEVEN = {
    "repeated": [LONG if row % 2 else LONG[1:] for row in range(1000)],
    "repeated in lists": [[LONG, "short"] for _ in range(1000)],
    "long ones together": [LONG if 400 <= row < 420 else "short" for row in range(1000)],
}


@pytest.mark.parametrize("name", UNEVEN)
def test_batches_of_long_values_are_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(parquet, "BATCH_BYTES", 100_000)
    monkeypatch.setattr(reader, "BATCH_BYTES", 100_000)
    monkeypatch.setattr(parquet, "_STEP_BYTES", 2_000)
    table = pa.table({"image": pngs(pictures(1)) * 1000, "text": UNEVEN[name]})
    pq.write_table(table, tmp_path / "a.parquet", write_batch_size=1)
    found = find_images([str(tmp_path)])
    batches = list(read_images(found.pieces, GREY, found.keep(["text"])))
    assert max(batch.keys.nbytes for batch in batches) <= 150_000
    assert join(batches).keys["text"].to_pylist() == UNEVEN[name]


def test_a_large_file_has_a_batch_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "BATCH_BYTES", 1000)
    for number, size in enumerate([100, 100, 2000, 100]):
        (tmp_path / f"{number}.png").write_bytes(pngs(pictures(1))[0] + bytes(size))
    monkeypatch.setattr(reader, "join_batches", lambda batches, *limits: batches)
    batches = read_images(find_images([str(tmp_path)]).pieces, GREY)
    assert [len(batch.images) for batch in batches] == [2, 1, 1]


def test_the_shape_is_that_of_readable_images(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_text("text")
    write_parquet(tmp_path / "b.parquet", pa.array([None, b"broken", encode(pictures(1, (3, 7, 9))[0])]))
    (tmp_path / "c.png").write_bytes(encode(pictures(1, (3, 7, 9))[0]))
    assert survey(find_images([str(tmp_path)])).shape == (3, 7, 9)


def test_no_readable_image_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_text("text")
    with pytest.raises(UserError, match=r"no image can be read \(.*a\.png: not an image"):
        _ = survey(find_images([str(tmp_path)])).shape


def test_a_struct_without_its_bytes_is_a_null_image(tmp_path: Path) -> None:
    column = pa.array([*huggingface(pictures(1)).to_pylist(), {"bytes": None, "path": "elsewhere.png"}, None])
    path = write_parquet(tmp_path / "a.parquet", column)
    batch = join(list(read_images(find_images([path]).pieces, GREY)))
    assert batch.errors["row"].to_pylist() == [1, 2]
    assert all(reason.startswith("the image is null") for reason in batch.errors["reason"].to_pylist())


@pytest.mark.parametrize("resize", [False, True])
def test_images_of_other_shapes(tmp_path: Path, resize: bool) -> None:
    shapes = [(1, 6, 5), (3, 6, 5), (1, 12, 10), (4, 3, 3)]
    path = write_parquet(tmp_path / "a.parquet", pa.array([encode(pictures(1, shape)[0]) for shape in shapes]))
    batch = join(list(read_images(find_images([path]).pieces, ImageContract(1, 6, 5, resize))))
    assert len(batch.images) == (4 if resize else 1)
    assert all("--resize" in reason for reason in batch.errors["reason"].to_pylist())


def test_the_real_data_sets(shared_data: Path) -> None:
    for name, shape, rows in (("fashion_mnist_test", (1, 28, 28), 10_000), ("emoji_rgb64", (3, 64, 64), 3_916)):
        found = find_images([str(shared_data / f"{name}.parquet")])
        assert found.rows == rows
        assert survey(found).shape == shape
        piece = found.pieces[-1]
        batch = join(list(read_images([piece], ImageContract(*shape), found.columns.names)))
        assert len(batch.images) == piece.rows
        last = Piece(piece.file, piece.row_group, piece.stop - 1, piece.stop, piece.first_row + piece.rows - 1)
        (single,) = read_images([last], ImageContract(*shape))
        np.testing.assert_array_equal(single.images[0], batch.images[-1])


def test_a_file_is_opened_once_for_all_its_row_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []

    class Counting(pafs.FSSpecHandler):
        def open_input_file(self, path: str) -> pa.NativeFile:
            opened.append(Path(path).name)
            return super().open_input_file(path)

    filesystem = pafs.PyFileSystem(Counting(fsspec.filesystem("file")))
    monkeypatch.setattr(parquet, "locate", lambda url: (filesystem, url))
    images = np.random.default_rng(0).integers(0, 256, (60, 1, 4, 4), np.uint8)
    for number in range(2):
        rows = [image.tobytes() for image in images[number * 30 :][:30]]
        pq.write_table(
            pa.table({"image": pa.array(rows, pa.binary(16))}), tmp_path / f"{number}.parquet", row_group_size=3
        )
    pieces = find_images([str(tmp_path)]).pieces
    assert len(pieces) == 20
    parquet._read_footer.cache_clear()  # the listing read the footers, by a version that this filesystem may agree with
    for opens in (2, 1):  # one for the footer, which is kept, and one for the rows
        opened.clear()
        read = list(read_images(pieces, ImageContract(1, 4, 4)))
        assert np.array_equal(np.concatenate([batch.images for batch in read]), images)
        assert opened == ["0.parquet"] * opens + ["1.parquet"] * opens
