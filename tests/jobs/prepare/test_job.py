"""`vae prepare`: every layout is converted to the packed one, and every row is prepared or an error."""

import gzip
import json
import struct
import subprocess
import sys
import urllib.request
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from export.images.contract import ImageContract
from export.storage import Folder
from export.tiling import Tiling
from image_files import LAYOUTS, encode, join, pictures, write_parquet
from jobs.images.reader import read_images
from jobs.images.source import find_images
from jobs.images.survey import survey
from jobs.images.units import Piece, Unit
from jobs.prepare.__main__ import main
from jobs.prepare.job import prepare
from jobs.prepare.options import PrepareOptions
from jobs.prepare.task import PackTask
from vae_core.errors import UserError


def options(source: Path | str, output: Path, **others: object) -> PrepareOptions:
    return PrepareOptions(source=(str(source),), output=str(output), engine="local", **others)  # type: ignore[arg-type]


def read_back(output: Path) -> tuple[np.ndarray, pa.Table]:
    """The images and other columns of a prepared folder, read as any job does."""
    found = find_images([str(output)])
    assert not found.bad_files
    shape = survey(found).shape
    batch = join(list(read_images(found.pieces, ImageContract(*shape), found.columns.names)))
    assert len(batch.errors) == 0
    return batch.images, batch.keys.select(found.columns.names)


@pytest.mark.parametrize("layout", [name for name in LAYOUTS if "undeclared" not in name])
def test_every_layout_is_converted(tmp_path: Path, layout: str) -> None:
    images = pictures(30, (3, 8, 7))
    column, metadata = LAYOUTS[layout](images)
    path = write_parquet(tmp_path / "in/a.parquet", column, metadata, row_group_size=9, label=list(range(30)))
    summary = prepare(options(path, tmp_path / "out"))
    assert (summary["rows"], summary["prepared"], summary["errors"]) == (30, 30, 0)
    prepared, columns = read_back(tmp_path / "out")
    np.testing.assert_array_equal(prepared, images)
    assert columns.to_pydict() == {
        "label": list(range(30)),
        "source_file": [path] * 30,
        "source_row": list(range(30)),
    }
    for part in (tmp_path / "out/images").iterdir():
        schema = pq.read_schema(part)
        assert schema.field("image").type == pa.binary(3 * 8 * 7)
        assert json.loads(schema.metadata[b"vae.shape"]) == [3, 8, 7]


def test_bad_rows_and_bad_files_become_errors(tmp_path: Path) -> None:
    images = pictures(3)
    for name, image in zip("abc", images, strict=True):
        (tmp_path / f"in-{name}.png").write_bytes(encode(image))
    (tmp_path / "in-b2.png").write_text("text")
    (tmp_path / "in-d.png").write_bytes(encode(pictures(1, (1, 9, 9))[0]))
    (tmp_path / "in-e.parquet").write_text("text")
    summary = prepare(options(f"{tmp_path}/in-*", tmp_path / "out"))
    assert (summary["rows"], summary["prepared"], summary["errors"]) == (5, 3, 3)
    errors = pq.read_table(tmp_path / "out/errors").to_pylist()
    assert [(Path(row["file"]).name, row["row"]) for row in errors] == [
        ("in-e.parquet", None),
        ("in-b2.png", 0),
        ("in-d.png", 0),
    ]
    prepared, columns = read_back(tmp_path / "out")
    np.testing.assert_array_equal(prepared, images)
    assert [Path(file).name for file in columns["source_file"].to_pylist()] == ["in-a.png", "in-b.png", "in-c.png"]


def test_size_resizes_all_images(tmp_path: Path) -> None:
    for number, shape in enumerate([(3, 8, 8), (1, 30, 20), (4, 5, 5)]):
        (tmp_path / f"in{number}.png").write_bytes(encode(pictures(1, shape)[0]))
    summary = prepare(options(f"{tmp_path}/*.png", tmp_path / "out", size=12))
    assert (summary["prepared"], summary["shape"]) == (3, [3, 12, 12])
    assert read_back(tmp_path / "out")[0].shape == (3, 3, 12, 12)


def test_a_rerun_changes_nothing_and_another_job_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(encode(pictures(1)[0]))
    first = prepare(options(tmp_path / "a.png", tmp_path / "out"))
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*")}
    assert prepare(options(tmp_path / "a.png", tmp_path / "out")) == first
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*")} == before
    with pytest.raises(UserError, match="holds a prepare job"):
        prepare(options(tmp_path / "a.png", tmp_path / "out", size=3))


def test_preparing_twice_keeps_the_first_origin(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(encode(pictures(1)[0]))
    prepare(options(tmp_path / "a.png", tmp_path / "once"))
    prepare(options(tmp_path / "once", tmp_path / "twice"))
    once, twice = read_back(tmp_path / "once"), read_back(tmp_path / "twice")
    np.testing.assert_array_equal(once[0], twice[0])
    assert once[1].to_pydict() == twice[1].to_pydict()


def test_columns_can_be_chosen(tmp_path: Path) -> None:
    column, metadata = LAYOUTS["packed"](pictures(2))
    path = write_parquet(tmp_path / "a.parquet", column, metadata, label=[1, 2], split=["x", "y"])
    prepare(options(path, tmp_path / "out", keep=("split",)))
    assert read_back(tmp_path / "out")[1].column_names == ["split", "source_file", "source_row"]
    with pytest.raises(UserError, match="no column lable; columns that can be kept: label, split"):
        prepare(options(path, tmp_path / "other", keep=("lable",)))
    assert not (tmp_path / "other").exists()


def test_nothing_prepared_is_an_error(tmp_path: Path) -> None:
    column, metadata = LAYOUTS["packed, shape undeclared"](pictures(2))
    path = write_parquet(tmp_path / "a.parquet", column, metadata)
    with pytest.raises(UserError, match=r"vae\.shape"):
        prepare(options(path, tmp_path / "out"))


def test_an_invalid_size_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--size must be at least 1, got 0"):
        options(tmp_path, tmp_path, size=0)


def test_the_command_line(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(encode(pictures(1)[0]))
    main(["--source", str(tmp_path / "a.png"), "--output", str(tmp_path / "out"), "--size", "4", "--engine", "local"])
    assert read_back(tmp_path / "out")[0].shape == (1, 1, 4, 4)
    assert Folder.at(tmp_path / "out").has("summary.json")


def test_preparing_files_needs_no_torch(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(encode(pictures(1)[0]))
    program = (
        "import sys; from jobs.prepare.__main__ import main; main(sys.argv[1:]); "
        "assert 'torch' not in sys.modules and 'torchvision' not in sys.modules"
    )
    arguments = ["--source", str(tmp_path), "--output", str(tmp_path / "out"), "--engine", "local"]
    subprocess.run([sys.executable, "-c", program, *arguments], check=True, capture_output=True)


def idx(array: np.ndarray) -> bytes:
    """The format of MNIST's files."""
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()


@pytest.fixture
def fashion_mnist(tmp_path: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """A tiny Fashion-MNIST where torchvision keeps its own, as `root/FashionMNIST/raw`."""
    sets = {}
    raw = tmp_path / "root/FashionMNIST/raw"
    raw.mkdir(parents=True)
    for split, name, count in (("train", "train", 25), ("test", "t10k", 10)):
        images = pictures(count, (1, 28, 28), seed=count)
        labels = np.arange(count, dtype=np.uint8) % 10
        (raw / f"{name}-images-idx3-ubyte").write_bytes(idx(images[:, 0]))
        (raw / f"{name}-labels-idx1-ubyte").write_bytes(idx(labels))
        with gzip.open(raw / f"{name}-labels-idx1-ubyte.gz", "wb") as stream:
            stream.write(idx(labels))
        sets[split] = images, labels
    return sets


@pytest.mark.parametrize("split", ["train", "test"])
def test_torchvision_sets_are_prepared_from_local_files(
    tmp_path: Path, fashion_mnist: dict[str, tuple[np.ndarray, np.ndarray]], split: str
) -> None:
    pytest.importorskip("torchvision")
    images, labels = fashion_mnist[split]
    prepare(options("torchvision:FashionMNIST", tmp_path / "out", root=str(tmp_path / "root"), split=split))
    prepared, columns = read_back(tmp_path / "out")
    np.testing.assert_array_equal(prepared, images)
    assert columns["label"].to_pylist() == labels.tolist()
    assert columns["source_file"].to_pylist() == [f"torchvision:FashionMNIST/{split}"] * len(images)
    assert columns["source_row"].to_pylist() == list(range(len(images)))


def test_torchvision_sets_can_be_resized(
    tmp_path: Path, fashion_mnist: dict[str, tuple[np.ndarray, np.ndarray]]
) -> None:
    pytest.importorskip("torchvision")
    source = options("torchvision:FashionMNIST", tmp_path / "out", root=str(tmp_path / "root"), size=14, keep=())
    assert prepare(source)["shape"] == [1, 14, 14]
    assert read_back(tmp_path / "out")[1].column_names == ["source_file", "source_row"]


def test_errors_of_torchvision_sets(
    tmp_path: Path, fashion_mnist: dict[str, tuple[np.ndarray, np.ndarray]], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("torchvision")
    monkeypatch.setattr(urllib.request, "_opener", None)  # which would keep the proxies for all tests that follow
    for name in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # simulates a machine without a network
    output, root = tmp_path / "out", str(tmp_path / "root")
    with pytest.raises(UserError, match=r"MNIST is not in .*root and cannot be downloaded"):
        prepare(options("torchvision:MNIST", output, root=root))
    with pytest.raises(UserError, match=r"must be one of .*CIFAR10.*FashionMNIST.*, got NoSuch"):
        prepare(options("torchvision:NoSuch", output, root=root))
    with pytest.raises(UserError, match="--split must be train or test for FashionMNIST, got extra"):
        prepare(options("torchvision:FashionMNIST", output, root=root, split="extra"))
    with pytest.raises(UserError, match="no column name; columns that can be kept: label"):
        prepare(options("torchvision:FashionMNIST", output, root=root, keep=("name",)))
    with pytest.raises(UserError, match="cannot be combined"):
        prepare(PrepareOptions(source=("torchvision:FashionMNIST", root), output=str(output)))
    assert not output.exists()


def test_a_row_that_kills_its_worker_does_not_hide_the_bad_files_of_its_unit(tmp_path: Path) -> None:
    columns = pa.schema({"label": pa.int64()})
    task = PackTask(ImageContract(1, 6, 5), columns, "fingerprint")
    unit = Unit(0, (Piece("a.parquet", 0, 4, 5, 14),), 1, bad_files=(("b.parquet", "it is text"),))
    part = task.failed(unit, "it killed its process")
    assert len(part.results) == 0
    assert part.errors.to_pylist() == [
        {"file": "b.parquet", "row": None, "label": None, "reason": "it is text"},
        {"file": "a.parquet", "row": 14, "label": None, "reason": "it killed its process"},
    ]


def test_changed_input_is_another_job(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(encode(pictures(1)[0]))
    prepare(options(path, tmp_path / "out"))
    path.write_bytes(encode(np.zeros((1, 6, 5), np.uint8)))
    with pytest.raises(UserError, match="job with inputs"):
        prepare(options(path, tmp_path / "out"))


def test_a_user_error_is_one_sentence_and_exit_code_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["--source", str(tmp_path / "nothing"), "--output", str(tmp_path / "out")])
    assert stopped.value.code == 2
    assert capsys.readouterr().err.startswith(f"vae prepare: no images at {tmp_path}/nothing: the path does not exist")


def test_images_of_any_size_are_cut_into_tiles(tmp_path: Path) -> None:
    images = [pictures(1, (3, *size), seed=i)[0] for i, size in enumerate(((4, 4), (4, 9), (12, 10)))]
    stored = [encode(image) for image in images]
    stored += [encode(pictures(1, (3, 3, 9))[0]), b"text", encode(pictures(1, (1, 8, 8))[0])]
    path = write_parquet(tmp_path / "a.parquet", pa.array(stored, pa.binary()), label=list("abcdef"))
    summary = prepare(options(path, tmp_path / "out", tile=4, overlap=1))
    assert (summary["rows"], summary["prepared"], summary["errors"], summary["tiles"]) == (6, 3, 3, 1 + 3 + 12)
    assert summary["tiling"] == {"height": 4, "width": 4, "overlap": 1}
    prepared, columns = read_back(tmp_path / "out")
    found = columns.to_pylist()
    assert list(found[0]) == ["label", "source_file", "source_row", "tile_top", "tile_left"]
    for tile, row in zip(prepared, found, strict=True):
        top, left = row["tile_top"], row["tile_left"]
        np.testing.assert_array_equal(tile, images[row["source_row"]][:, top : top + 4, left : left + 4])
        assert row["label"] == "abc"[row["source_row"]]
    for number, image in enumerate(images):
        places = [(row["tile_top"], row["tile_left"]) for row in found if row["source_row"] == number]
        assert places == list(map(tuple, Tiling(4, 4, 1).places(*image.shape[1:]).tolist()))
    again = prepare(options(path, tmp_path / "out", tile=4, overlap=1))
    assert again == summary
    with pytest.raises(UserError, match="tiling"):
        prepare(options(path, tmp_path / "out", tile=4, overlap=2))


def test_tiles_are_cut_and_not_resized(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--tile must not be given with --size"):
        options(tmp_path, tmp_path / "out", tile=8, size=8)
    with pytest.raises(UserError, match="--tile must be given with image files or tables, got torchvision:MNIST"):
        prepare(options("torchvision:MNIST", tmp_path / "out", tile=8))
