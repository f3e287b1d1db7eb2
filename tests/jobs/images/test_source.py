"""Listing the input: which files count, which are bad, which columns can be kept, and how units are planned."""

import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from image_files import encode, huggingface, packed, pictures, write_parquet
from jobs.images.source import ImageFile, ImageSet, find_images, plan_units
from jobs.images.units import Unit
from vae_core.errors import UserError

SHAPE = {"vae.shape": "[1, 6, 5]"}


def a_parquet(path: Path, rows: int = 3, **columns: object) -> str:
    return write_parquet(path, packed(pictures(max(rows, 1))).slice(0, rows), SHAPE, **columns)


def a_png(path: Path) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encode(pictures(1)[0]))
    return str(path)


def test_the_set_is_the_same_however_its_files_are_named(tmp_path: Path) -> None:
    paths = [a_png(tmp_path / "b/2.png"), a_png(tmp_path / "b/1.png"), a_parquet(tmp_path / "a.parquet")]
    expected = find_images([str(tmp_path)])
    assert [file.url for file in expected.files] == sorted(paths)
    assert expected.rows == 5
    for other in (paths, paths[::-1], [*paths, str(tmp_path)], [f"{tmp_path}/*.parquet", f"{tmp_path}/b"]):
        assert find_images(other) == expected
        assert plan_units(find_images(other)) == plan_units(expected)


def test_only_images_and_parquet_files_count_below_a_folder(tmp_path: Path) -> None:
    wanted = [a_png(tmp_path / "A.PNG"), a_parquet(tmp_path / "x/data.PARQUET")]
    for name in ("readme.md", "_SUCCESS", "labels.csv", "_delta_log/1.parquet", "x/_part.parquet"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"no image")
    found = find_images([str(tmp_path)])
    assert [file.url for file in found.files] == sorted(wanted)
    assert not found.bad_files


def test_an_explicitly_named_file_needs_no_suffix(tmp_path: Path) -> None:
    parquet, png = a_parquet(tmp_path / "data.bin"), a_png(tmp_path / "picture")
    found = find_images([parquet, png])
    assert [(file.url, file.rows) for file in found.files] == [(parquet, 3), (png, 1)]


def test_one_bad_file_among_good_ones_is_set_aside(tmp_path: Path) -> None:
    good = a_parquet(tmp_path / "good.parquet")
    (tmp_path / "cut.parquet").write_bytes(Path(good).read_bytes()[:-20])
    (tmp_path / "empty.parquet").touch()
    (tmp_path / "text.parquet").write_text("this is text")
    pq.write_table(pa.table({"label": [1]}), tmp_path / "labels.parquet")
    found = find_images([str(tmp_path)])
    assert [file.url for file in found.files] == [good]
    reasons = {Path(url).name: reason for url, reason in found.bad_files}
    assert list(reasons) == ["cut.parquet", "empty.parquet", "labels.parquet", "text.parquet"]
    assert reasons["labels.parquet"] == "no column holds images (columns: label int64)"
    assert all("not a complete Parquet file" in reasons[f"{name}.parquet"] for name in ("cut", "empty", "text"))
    assert plan_units(found)[0].bad_files == found.bad_files


def test_nothing_but_bad_files_is_an_error(tmp_path: Path) -> None:
    pq.write_table(pa.table({"label": [1]}), tmp_path / "labels.parquet")
    with pytest.raises(UserError, match=r"cannot read .*labels\.parquet: no column holds images \(columns: label"):
        find_images([str(tmp_path)])
    (tmp_path / "more.parquet").touch()
    with pytest.raises(UserError, match="and 1 more"):
        find_images([str(tmp_path)])


def test_several_image_like_columns_are_an_error(tmp_path: Path) -> None:
    column = huggingface(pictures(2))
    path = write_parquet(tmp_path / "a.parquet", column, name="left", right=column)
    with pytest.raises(UserError, match=r"several columns may hold images \(left, right\)"):
        find_images([path])


def test_an_input_without_rows_is_an_error(tmp_path: Path) -> None:
    path = a_parquet(tmp_path / "a.parquet", rows=0)
    with pytest.raises(UserError, match="the files have no rows"):
        find_images([path])
    a_parquet(tmp_path / "b.parquet", rows=2)
    assert find_images([str(tmp_path)]).rows == 2


def test_a_folder_without_images_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "readme.md").write_text("nothing to see")
    with pytest.raises(UserError, match="no file has the suffix of a Parquet or image file"):
        find_images([str(tmp_path)])
    with pytest.raises(UserError, match="--images must name at least one file"):
        find_images([])


def test_a_job_output_is_read_without_its_errors_and_only_when_complete(tmp_path: Path) -> None:
    part = a_parquet(tmp_path / "job/images/part-000000.parquet")
    pq.write_table(pa.table({"file": ["x"], "reason": ["y"]}), _made(tmp_path / "job/errors/part-000000.parquet"))
    (tmp_path / "job/plan.json").write_text("{}")
    with pytest.raises(UserError, match="must hold a finished job"):
        find_images([str(tmp_path)])
    (tmp_path / "job/summary.json").write_text("{}")
    for argument in (tmp_path, tmp_path / "job"):
        found = find_images([str(argument)])
        assert [file.url for file in found.files] == [part]
        assert not found.bad_files


def _made(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def test_columns_that_every_file_has_can_be_kept(tmp_path: Path) -> None:
    text = pa.array(["p", "q", "p"]).dictionary_encode()
    a_parquet(
        tmp_path / "a.parquet", label=pa.array([1, 2, 3], pa.int32()), only_here=[1, 2, 3], kind=text, odd=[1, 2, 3]
    )
    a_parquet(tmp_path / "b.parquet", label=pa.array([4, 5, 6], pa.int64()), kind=["r", "s", "t"], odd=["1", "2", "3"])
    found = find_images([str(tmp_path)])
    assert found.columns == pa.schema({"label": pa.int64(), "kind": pa.string()})
    assert found.keep(["kind"]) == pa.schema({"kind": pa.string()})
    with pytest.raises(UserError, match="no column only_here in every file; columns that can be kept: label, kind"):
        found.keep(["only_here"])
    with pytest.raises(UserError, match="columns must be distinct, got kind twice"):
        found.keep(["kind", "kind"])
    with pytest.raises(UserError, match="the name is reserved"):
        found.keep(["row"])


def test_image_files_have_no_columns(tmp_path: Path) -> None:
    path = a_png(tmp_path / "a.png")
    with pytest.raises(UserError, match="no column label; columns that can be kept: none"):
        find_images([path]).keep(["label"])


def of_row_groups(*files: tuple[int, ...], image_bytes: int = 784) -> ImageSet:
    """An image set for planning only."""
    found = [
        ImageFile(f"f{number}", 1, groups, image_bytes, layout=object(), columns=pa.schema([]))  # type: ignore[arg-type]
        for number, groups in enumerate(files)
    ]
    return ImageSet(tuple(found), ())


def check_plan(images: ImageSet, units: list[Unit]) -> list[int]:
    """The row counts of the units, having checked that they contain each row once and in order."""
    pieces = iter([piece for unit in units for piece in unit.pieces])
    for file in images.files:
        row = 0
        while row < file.rows:
            piece = next(pieces)
            assert (piece.file, piece.first_row) == (file.url, row)
            row += piece.rows
        assert row == file.rows
    assert not list(pieces)
    return [unit.rows for unit in units]


def test_small_inputs_are_cut_into_units_of_about_1024_rows() -> None:
    images = of_row_groups((1000,) * 10, (50,), (30, 20))
    assert check_plan(images, plan_units(images)) == [1000] * 10 + [100]


def test_units_grow_with_the_input_up_to_32768_rows() -> None:
    images = of_row_groups(*[(10_000,) * 10] * 20, image_bytes=100)
    assert check_plan(images, plan_units(images)) == [30_000] * 66 + [20_000]
    images = of_row_groups(*[(10_000,) * 10] * 100, image_bytes=100)
    assert check_plan(images, plan_units(images)) == [30_000] * 333 + [10_000]


def test_a_unit_of_large_images_has_few_of_them() -> None:
    images = of_row_groups((1000,) * 10, image_bytes=3 * 1024 * 1024)
    assert max(check_plan(images, plan_units(images))) <= 125  # an eighth of a row group
    images = of_row_groups((100,) * 10, image_bytes=3 * 1024 * 1024)
    assert max(check_plan(images, plan_units(images))) <= 25


def test_a_large_row_group_is_cut_into_at_most_eight_slices() -> None:
    images = of_row_groups((60_000,))
    assert check_plan(images, plan_units(images)) == [7_500] * 8
    images = of_row_groups((1_000_000,), image_bytes=100)
    assert check_plan(images, plan_units(images)) == [125_000] * 8


@pytest.mark.parametrize("unit_rows", [1, 7, 64, 1000, 10**9])
def test_the_size_of_units_can_be_chosen(unit_rows: int) -> None:
    images = of_row_groups((300,) * 3, (20,))
    rows = check_plan(images, plan_units(images, unit_rows))
    assert max(rows) <= max(1, 1.5 * unit_rows)


def test_units_have_at_least_one_row() -> None:
    with pytest.raises(UserError, match="at least 1, got 0"):
        plan_units(of_row_groups((3,)), 0)


def test_a_rewritten_file_is_read_again(tmp_path: Path) -> None:
    path = a_parquet(tmp_path / "a.parquet", rows=3)
    assert find_images([path]).rows == 3
    a_parquet(tmp_path / "a.parquet", rows=4)
    assert find_images([path]).rows == 4
    a_parquet(tmp_path / "a.parquet", rows=3)
    os.utime(path, (1, 1))
    assert find_images([path]).rows == 3


def test_many_files_keep_their_order(tmp_path: Path) -> None:
    order = np.random.default_rng(0).permutation(60)
    for number in order:
        a_parquet(tmp_path / f"{number:02}.parquet", rows=int(number) % 4)
    found = find_images([str(tmp_path)])
    assert [file.rows for file in found.files] == [number % 4 for number in range(60)]
