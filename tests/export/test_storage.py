import datetime
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import fsspec
import pyarrow as pa
import pyarrow.fs as pafs
import pytest

from export.storage import Folder, is_url, open_filesystem
from vae_core.errors import StorageFailed, UserError


@pytest.fixture(params=["path", "file-url", "memory"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Folder:
    kind = request.param
    url = {"path": str(tmp_path / "a b"), "file-url": f"file://{tmp_path}/ab", "memory": f"memory://{tmp_path.name}/x"}
    return Folder.at(url[kind])


def test_what_is_written_is_read(folder: Folder) -> None:
    assert folder.names() == []
    assert not folder.has("a.txt")
    folder.write_text("a.txt", "één")
    folder.write("deep/er/b.bin", b"\x00\x01")
    folder.write_table("t.parquet", pa.table({"x": [1, 2]}))
    assert folder.read_text("a.txt") == "één"
    assert folder.child("deep").read("er/b.bin") == b"\x00\x01"
    assert folder.read_table("t.parquet")["x"].to_pylist() == [1, 2]
    assert folder.names() == ["a.txt", "t.parquet"]
    assert folder.names(recursive=True) == ["a.txt", "deep/er/b.bin", "t.parquet"]
    assert folder.subfolders() == ["deep"]
    folder.write_text("a.txt", "new")
    assert folder.read_text("a.txt") == "new"
    folder.delete("a.txt")
    folder.delete("a.txt")
    assert not folder.has("a.txt")
    folder.delete_all()
    assert folder.names(recursive=True) == []


def test_a_folder_ships_as_its_address(folder: Folder) -> None:
    folder.write_text("a.txt", "x")
    assert pickle.loads(pickle.dumps(folder)).read_text("a.txt") == "x"


def test_a_failed_write_leaves_what_was_there(tmp_path: Path) -> None:
    folder = Folder.at(tmp_path)
    folder.write_text("a.txt", "old")
    with pytest.raises(TypeError):
        folder.write("a.txt", object())  # type: ignore[arg-type]
    assert folder.read_text("a.txt") == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_a_stream_that_fails_leaves_no_half_file(folder: Folder) -> None:
    with folder.writing("a.bin") as stream:
        stream.write(b"one")
        stream.write(b"two")
    assert folder.read("a.bin") == b"onetwo"

    def fail() -> None:
        with folder.writing("b.bin") as stream:
            stream.write(b"half")
            raise ValueError("the rest")

    with pytest.raises(ValueError, match="the rest"):
        fail()
    assert folder.names() == ["a.bin"]


def test_a_missing_file_is_an_error(folder: Folder) -> None:
    with pytest.raises(FileNotFoundError):
        folder.read("nothing")


def test_a_path_must_be_utf8() -> None:
    with pytest.raises(UserError, match=r"a path must be UTF-8, got /data/caf.*; rename it"):
        Folder.at("/data/caf\udce9")


def test_a_device_is_no_folder() -> None:
    with pytest.raises(UserError, match="--output must be a folder, got /dev/null, which is a pipe or device; choose"):
        Folder.at("/dev/null").refuse_file("--output")
    with pytest.raises(UserError, match="which is below the pipe or device /dev/null; choose another"):
        Folder.at("/dev/null/a").refuse_file("--output")


def test_an_unknown_scheme_is_named() -> None:
    assert is_url("s3://bucket")
    assert not is_url("/tmp/x:y")
    with pytest.raises(UserError, match="cannot open nosuch://bucket"):
        Folder.at("nosuch://bucket")


@pytest.mark.parametrize(
    "name",
    ["../x", "..", "a/../../x", "a/..", "/etc/passwd", "", ".", "a//b", "a/", "..\\x", "a\\..\\x", "x\0", "%2e%2e/x"],
)
def test_names_cannot_leave_the_folder(folder: Folder, name: str) -> None:
    folder.write_text("a/b.txt", "inside")
    attempts = [
        lambda: folder.file(name),
        lambda: folder.child(name),
        lambda: folder.has(name),
        lambda: folder.read(name),
        lambda: folder.read_table(name),
        lambda: folder.write(name, b"x"),
        lambda: folder.delete(name),
        lambda: folder.discard(name),
        lambda: folder.child("a").write(name, b"x"),
    ]
    for attempt in attempts:
        with pytest.raises(UserError, match="must be a relative path without"):
            attempt()
    assert folder.names(recursive=True) == ["a/b.txt"]


def test_names_with_dots_and_spaces_stay_inside(folder: Folder) -> None:
    for name in ("..a", "a..b", "a b/c.d", "...", "100%.txt"):
        folder.write_text(name, name)
        assert folder.read_text(name) == name


def test_links_of_the_user_are_followed(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/link").symlink_to(tmp_path / "elsewhere")
    Folder.at(tmp_path / "folder").write_text("link/a.txt", "x")
    assert (tmp_path / "elsewhere/a.txt").read_text() == "x"


def test_json_is_read_as_an_object(folder: Folder) -> None:
    folder.write_text("good.json", '{"a": [{"b": 1}]}')
    assert folder.read_json("good.json") == {"a": [{"b": 1}]}
    bad = {
        "": "valid JSON",
        "[1]": "a JSON object",
        '{"a": {"b": 1, "b": 2}}': "the key 'b' twice",
        "\x00": "valid JSON",
    }
    for text, said in bad.items():
        folder.write_text("bad.json", text)
        with pytest.raises(UserError, match=rf"bad\.json must .*{said}"):
            folder.read_json("bad.json")


class _Refusing(pafs.FSSpecHandler):
    """A storage that refuses everything."""

    def __init__(self) -> None:
        super().__init__(fsspec.filesystem("memory"))

    def _refuse(self, *_: object) -> NoReturn:
        raise OSError("AWS Error ACCESS_DENIED")

    get_file_info = get_file_info_selector = open_input_file = open_output_stream = _refuse
    create_dir = delete_file = delete_dir = _refuse


@pytest.mark.parametrize(
    ("doing", "act"),
    [
        ("look for f/a", lambda folder: folder.has("a")),
        ("list f", lambda folder: folder.names()),
        ("list f", lambda folder: folder.subfolders()),
        ("read f/a", lambda folder: folder.read("a")),
        ("write f/a", lambda folder: folder.write("a", b"")),
        ("look for f/a", lambda folder: folder.delete("a")),
        ("delete f/a", lambda folder: folder.discard("a")),
        ("delete f", lambda folder: folder.delete_all()),
        ("look for f", lambda folder: folder.refuse_file("--output")),
    ],
)
def test_a_storage_that_refuses_is_named(doing: str, act: Callable[[Folder], object]) -> None:
    with pytest.raises(StorageFailed, match=f"^cannot {doing}: AWS Error ACCESS_DENIED$"):
        act(Folder("f", pafs.PyFileSystem(_Refusing()), "/f"))


def test_a_storage_of_google_that_does_not_answer_is_not_tried_for_long() -> None:
    filesystem, path = open_filesystem("gs://anonymous@bucket/images")
    assert isinstance(filesystem, pafs.GcsFileSystem)
    assert path == "bucket/images"
    (settings,) = filesystem.__reduce__()[1]
    assert settings["retry_time_limit"] == datetime.timedelta(seconds=20)
