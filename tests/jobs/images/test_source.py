"""Listing the input: which files count, which are bad, which columns can be kept, and how units are planned."""

import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from export.images.contract import ImageContract
from image_files import encode, encrypted, huggingface, packed, pictures, pngs, write_parquet
from jobs.images.image_set import ImageFile, ImageSet
from jobs.images.reader import read_images
from jobs.images.source import describe_others, find_images, plan_units
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
    with pytest.raises(UserError, match=r"only 1 \.md file; give folders of image or Parquet files"):
        find_images([str(tmp_path)])
    with pytest.raises(UserError, match="--images must name at least one file"):
        find_images([])


PLAN = '{\n  "format": 1,\n  "kind": "%s",\n  "identity": {},\n  "units": []\n}\n'


def a_job(folder: Path, kind: str, finished: bool = True) -> Path:
    """The output of a job, with a part of images."""
    a_parquet(folder / "images/part-000000.parquet")
    pq.write_table(pa.table({"file": ["x"], "reason": ["y"]}), _made(folder / "errors/part-000000.parquet"))
    (folder / "plan.json").write_text(PLAN % kind)
    if finished:
        (folder / "summary.json").write_text("{}")
    return folder


def test_packed_images_are_read_without_their_errors_and_only_when_complete(tmp_path: Path) -> None:
    job = a_job(tmp_path / "job", "prepare", finished=False)
    with pytest.raises(UserError, match="must hold a finished job"):
        find_images([str(job)])
    (job / "summary.json").write_text("{}")
    for argument in (job, f"{job}/images", f"{job}/*/part*.parquet"):
        found = find_images([str(argument)])
        assert [file.url for file in found.files] == [str(job / "images/part-000000.parquet")]
        assert not found.bad_files


def test_the_output_of_another_job_is_no_image_set(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is an output of vae score, which holds no images to read; give its input"):
        find_images([str(a_job(tmp_path / "out", "score"))])


@pytest.mark.parametrize("kind", ["prepare", "sample", "score", "find", "evaluate"])
@pytest.mark.parametrize("finished", [False, True])
def test_outputs_of_jobs_among_the_images_are_left_out(tmp_path: Path, kind: str, finished: bool) -> None:
    wanted = [a_png(tmp_path / "a.png"), a_png(tmp_path / "deep/b.png")]
    a_png(a_job(tmp_path / "deep/out", kind, finished) / "gallery/1.png")
    for argument in (tmp_path, f"{tmp_path}/**/*.png"):
        found = find_images([str(argument)])
        assert [file.url for file in found.files] == wanted
        assert not found.bad_files
        assert list(found.others) == [f"file in an output of vae {kind}"]


def test_the_output_of_the_job_itself_is_left_out_before_it_has_a_plan(tmp_path: Path) -> None:
    a_png(tmp_path / "a.png")
    before = find_images([str(tmp_path)], output=f"{tmp_path}/out")
    a_parquet(tmp_path / "out/splits/validation.parquet")
    after = find_images([str(tmp_path)], output=f"{tmp_path}/out")
    assert (after.files, after.fingerprint) == (before.files, before.fingerprint)
    assert find_images([f"{tmp_path}/out/splits"], output=f"{tmp_path}/out").rows == 3  # what is named is read


def test_a_plan_of_a_users_own_is_an_ordinary_file(tmp_path: Path) -> None:
    for content in ('{"steps": 3}', "", '{"format": 1, "kind": "travel"}', "[]"):
        (tmp_path / "plan.json").write_text(content)
        a_png(tmp_path / "trip/a.png")
        (tmp_path / "trip/plan.json").write_text(content)
        found = find_images([str(tmp_path)])
        assert found.rows == 1
        assert found.others == {".json file": 2}


def test_runs_and_bundles_among_the_images_are_left_out(tmp_path: Path) -> None:
    a_png(tmp_path / "a.png")
    for name, content in (
        ("run.json", '{\n  "format": 2,\n  "model": {}}'),
        ("manifest.json", '{"format": 3, "statistics": ['),
    ):
        a_parquet(tmp_path / name[:3] / "splits/training.parquet")
        (tmp_path / name[:3] / name).write_text(content)
    found = find_images([str(tmp_path)])
    assert found.rows == 1
    assert found.others == {"file in an output of vae export": 2, "file in an output of vae train": 2}


# ---- Files and folders as people have them


def test_only_what_lies_below_the_argument_decides(tmp_path: Path) -> None:
    """A folder above it may be hidden or begin with an underscore."""
    for above in ("_data", ".cache", "x/_tmp"):
        path = a_parquet(tmp_path / above / "set/a.parquet")
        assert [file.url for file in find_images([str(tmp_path / above / "set")]).files] == [path]
        assert [file.url for file in find_images([f"{tmp_path}/{above}/set/*.parquet"]).files] == [path]


def test_hive_partitions_may_begin_with_an_underscore(tmp_path: Path) -> None:
    wanted = a_parquet(tmp_path / "_year=2020/a.parquet")
    a_parquet(tmp_path / "_delta_log/1.parquet")
    found = find_images([str(tmp_path)])
    assert [file.url for file in found.files] == [wanted]
    assert found.others == {"Parquet file under a name with an underscore": 1}


def test_no_folder_is_visited_twice_however_links_lead_to_it(tmp_path: Path) -> None:
    wanted = [a_png(tmp_path / "set/a.png"), a_png(tmp_path / "set/deep/b.png")]
    (tmp_path / "set/up").symlink_to(tmp_path / "set")
    (tmp_path / "set/deep/further up").symlink_to(tmp_path)
    (tmp_path / "set/a link before deep").symlink_to(tmp_path / "set/deep")
    found = find_images([str(tmp_path / "set")])
    assert [file.url for file in found.files] == wanted
    elsewhere = a_png(tmp_path / "other/c.png")
    (tmp_path / "set/other").symlink_to(tmp_path / "other")
    (tmp_path / "set/other too").symlink_to(tmp_path / "other")
    urls = [file.url for file in find_images([str(tmp_path / "set")]).files]
    assert urls == [*wanted, elsewhere.replace("/other/", "/set/other/")]


def test_a_name_that_is_not_utf8_is_one_bad_file(tmp_path: Path) -> None:
    good = a_png(tmp_path / "a.png")
    for name in (b"caf\xe9.png", b"caf\xe9.txt"):
        (tmp_path / os.fsdecode(name)).write_bytes(Path(good).read_bytes())
    found = find_images([str(tmp_path)])
    assert [file.url for file in found.files] == [good]
    ((name, reason),) = found.bad_files
    assert name == f"{tmp_path}/caf\\xe9.png"
    assert reason == "its name must be UTF-8, which tables can hold; rename it"
    assert found.others == {".txt file": 1}
    assert plan_units(found)[0].bad_files == found.bad_files


def test_a_folder_that_cannot_be_listed_is_a_bad_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    a_png(tmp_path / "a.png")
    a_png(tmp_path / "locked/b.png")
    scandir = os.scandir

    def refuse(path: bytes) -> object:
        if path.endswith(b"locked"):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    assert find_images([str(tmp_path)]).bad_files == (
        (f"{tmp_path}/locked", "the folder cannot be listed: Permission denied"),
    )


@pytest.mark.parametrize("suffix", [".jfif", ".JIF", ".apng", ".jpe", ""])
def test_files_are_images_by_suffix_or_without_one_by_content(tmp_path: Path, suffix: str) -> None:
    path = a_png(tmp_path / f"scan{suffix}")
    assert [file.url for file in find_images([str(tmp_path)]).files] == [path]


def test_files_without_a_suffix_are_told_apart_by_content(tmp_path: Path) -> None:
    wanted = [a_png(tmp_path / "000123"), a_png(tmp_path / "scan.1"), a_parquet(tmp_path / "part-0")]
    (tmp_path / "README").write_text("BM is how this begins, as a BMP does")
    (tmp_path / "empty").touch()
    found = find_images([str(tmp_path)])
    assert sorted(file.url for file in found.files) == sorted(wanted)
    assert {Path(file.url).name: file.rows for file in found.files} == {"000123": 1, "scan.1": 1, "part-0": 3}
    assert found.others == {"other file": 2}


def test_what_is_left_out_is_counted_by_kind(tmp_path: Path) -> None:
    a_png(tmp_path / "a.png")
    for name in ("b.heic", "c.HEIC", "d.txt", ".hidden.png", ".git/config", ".git/x.png"):
        _made(tmp_path / name).write_bytes(b"x")
    (tmp_path / "broken.png").symlink_to(tmp_path / "nowhere.png")
    (tmp_path / "loop.png").symlink_to(tmp_path / "loop.png")
    os.mkfifo(tmp_path / "pipe.png")
    found = find_images([str(tmp_path)])
    assert found.rows == 1
    assert found.others == {
        "broken link": 2,
        ".heic file": 2,
        "hidden file": 1,
        "hidden folder": 1,
        ".txt file": 1,
        "special file": 1,
    }
    assert describe_others(found.others) == (
        "not images, left out: 2 .heic files, 2 broken links, 1 .txt file, 1 hidden file, 1 hidden folder, "
        "1 special file"
    )


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
    assert found.columns == pa.schema({"label": pa.int64(), "kind": pa.string(), "odd": pa.string()})
    assert found.keep(["kind"]) == pa.schema({"kind": pa.string()})
    with pytest.raises(
        UserError, match="no column only_here in every file; columns that can be kept: label, kind, odd"
    ):
        found.keep(["only_here"])
    with pytest.raises(UserError, match="columns must be distinct, got kind twice"):
        found.keep(["kind", "kind"])


def test_a_column_that_occurs_twice_cannot_be_kept(tmp_path: Path) -> None:
    image = pa.array(pngs(pictures(1)))
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table([image, pa.array([1]), pa.array([2])], names=["image", "x", "x"]), path)
    with pytest.raises(UserError, match=r"one column must be named x, got several in .*a\.parquet; rename the others"):
        find_images([str(path)]).keep(["x"])
    pq.write_table(pa.table({"image": image, "file": ["f"], "input_file": ["g"]}), path)
    with pytest.raises(UserError, match="column file is kept as input_file, but the images have a column input_file"):
        find_images([str(path)]).keep(["file"])


@pytest.mark.parametrize("plaintext_footer", [True, False])
def test_an_encrypted_file_is_left_out(tmp_path: Path, plaintext_footer: bool) -> None:
    a_png(tmp_path / "a.png")
    table = pa.table({"image": pngs(pictures(1))})
    (tmp_path / "b.parquet").write_bytes(encrypted(table, "image", plaintext_footer))
    found = find_images([str(tmp_path)])
    ((file, reason),) = found.bad_files
    assert found.rows == 1
    assert file.endswith("b.parquet")
    assert "encrypted" in reason


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


# ---- Columns that can be kept


def test_columns_with_names_that_jobs_need_are_kept_under_others(tmp_path: Path) -> None:
    a_parquet(tmp_path / "a.parquet", file=["x", "y", "z"], row=[7, 8, 9], reason=["p", "q", "r"])
    found = find_images([str(tmp_path)])
    assert found.columns.names == ["input_file", "input_row", "input_reason"]
    for names in (["file", "row"], ["input_file", "input_row"]):
        (batch,) = read_images(found.pieces, ImageContract(1, 6, 5), found.keep(names))
        assert batch.keys.to_pydict() == {
            "file": [str(tmp_path / "a.parquet")] * 3,
            "row": [0, 1, 2],
            "input_file": ["x", "y", "z"],
            "input_row": [7, 8, 9],
        }


@pytest.mark.parametrize(
    ("first", "second", "joint"),
    [
        (pa.array([1, 2, 3], pa.int32()), pa.array([4, 5, 6], pa.int64()), pa.int64()),
        (pa.array([1, 2, 3]), pa.array(["a", "b", "c"]), pa.string()),
        (pa.array([True, False, None]), pa.array(["a", "b", "c"]), pa.string()),
        (pa.array([1.5, 2.0, 3.0]), pa.array([1, 2, 3]), pa.float64()),
        (pa.array(["a", "b", "c"]).dictionary_encode(), pa.array(["a", "b", "c"]), pa.string()),
        (pa.array([1, 2, 3], pa.date32()), pa.array(["a", "b", "c"]), pa.string()),
    ],
    ids=str,
)
def test_columns_that_differ_in_type_only_are_kept(
    tmp_path: Path, first: pa.Array, second: pa.Array, joint: pa.DataType
) -> None:
    for name, values in (("a", first), ("b", second)):
        a_parquet(tmp_path / f"{name}.parquet", label=values)
    found = find_images([str(tmp_path)])
    columns = found.keep(["label"])
    assert columns.field("label").type == joint
    keys = pa.concat_tables([batch.keys for batch in read_images(found.pieces, ImageContract(1, 6, 5), columns)])
    plain = first.dictionary_decode() if pa.types.is_dictionary(first.type) else first
    assert keys["label"].to_pylist() == [*plain.cast(joint).to_pylist(), *second.cast(joint).to_pylist()]


def test_types_that_no_type_holds_are_named(tmp_path: Path) -> None:
    a_parquet(tmp_path / "a.parquet", label=[[1], [2], [3]])
    a_parquet(tmp_path / "b.parquet", label=["a", "b", "c"])
    with pytest.raises(
        UserError, match=r"the column label must have one type, got list<.*> in .*a\.parquet and string in"
    ):
        find_images([str(tmp_path)]).keep(["label"])


def test_values_of_hive_partitions_can_be_kept(tmp_path: Path) -> None:
    a_parquet(tmp_path / "x=0/set/year=2020/site=north%20wing/a.parquet", rows=2)
    a_parquet(tmp_path / "x=0/set/year=2021/site=__HIVE_DEFAULT_PARTITION__/b.parquet", rows=1)
    found = find_images([str(tmp_path / "x=0/set")])
    columns = found.keep(["year", "site"])  # and not x, which lies above the argument
    assert found.columns == pa.schema({"year": pa.int64(), "site": pa.string()})
    keys = pa.concat_tables([batch.keys for batch in read_images(found.pieces, ImageContract(1, 6, 5), columns)])
    assert keys.select(["year", "site"]).to_pydict() == {
        "year": [2020, 2020, 2021],
        "site": ["north wing", "north wing", None],
    }
    a_png(tmp_path / "x=0/set/year=2022/site=a/c.png")  # image files have such values, too
    again = find_images([str(tmp_path / "x=0/set")])
    keys = pa.concat_tables([batch.keys for batch in read_images(again.pieces, ImageContract(1, 6, 5), again.columns)])
    assert keys["year"].to_pylist() == [2020, 2020, 2021, 2022]


def test_a_file_that_was_written_again_in_the_same_size_is_other_input(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(b"x" * 100)
    before = find_images([str(path)])
    path.write_bytes(b"y" * 100)
    os.utime(path, ns=(0, path.stat().st_mtime_ns + 1))  # of a clock that is coarser than this test is fast
    after = find_images([str(path)])
    assert before.fingerprint != after.fingerprint
    assert after.fingerprint == find_images([str(path)]).fingerprint


def test_a_run_as_argument_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text('{\n  "format": 1,\n  "model": {}\n}')
    a_parquet(tmp_path / "splits/training.parquet")
    with pytest.raises(UserError, match="an output of vae train, which holds no images to read"):
        find_images([str(tmp_path)])
