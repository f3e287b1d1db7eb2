"""Arguments resolve to files: paths, folders, patterns and URLs."""

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import pyarrow as pa
import pytest

from jobs.images.location import Address, locate, search
from vae_core.errors import UserError

NAMES = [
    "a.png",
    "b.jpg",
    "notes.txt",
    "deep/a.png",
    "deep/er/c.png",
    "with space/[x] 50%.png",
    ".hidden/d.png",
    "deep/.e.png",
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in NAMES:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(name.encode())
    return tmp_path


@pytest.fixture
def memory() -> Iterator[str]:
    """The same files in fsspec's memory file system, standing for every storage that pyarrow does not support."""
    import fsspec

    filesystem = fsspec.filesystem("memory")
    root = f"/{uuid.uuid4().hex}"
    for name in NAMES:
        filesystem.pipe(f"{root}/data/{name}", name.encode())
    yield f"memory:/{root}/data"
    filesystem.rm(root, recursive=True)


def named(base: str, argument: str) -> list[str]:
    """The files found, relative to the base, having read each at its address."""
    found = [item.url for item in search(argument).files]
    assert found == sorted(found)
    for url in found:
        filesystem, path = locate(url)
        with filesystem.open_input_file(path) as stream:
            assert stream.read().decode() == url.removeprefix(f"{base}/")
    return [url.removeprefix(f"{base}/") for url in found]


CASES = [
    ("", ["a.png", "b.jpg", "deep/a.png", "deep/er/c.png", "notes.txt", "with space/[x] 50%.png"]),
    ("deep", ["deep/a.png", "deep/er/c.png"]),
    ("deep/", ["deep/a.png", "deep/er/c.png"]),
    ("a.png", ["a.png"]),
    ("*.png", ["a.png"]),
    ("*/*.png", ["deep/a.png", "with space/[x] 50%.png"]),
    ("**/*.png", ["a.png", "deep/a.png", "deep/er/c.png", "with space/[x] 50%.png"]),
    ("[ab].*", ["a.png", "b.jpg"]),
    ("[!a].*", ["b.jpg"]),
    ("?.jpg", ["b.jpg"]),
    ("deep/**", ["deep/a.png", "deep/er/c.png"]),
]


@pytest.mark.parametrize(("argument", "expected"), CASES)
def test_local_paths(folder: Path, argument: str, expected: list[str]) -> None:
    assert named(str(folder), f"{folder}/{argument}" if argument else str(folder)) == expected


@pytest.mark.parametrize(("argument", "expected"), CASES)
def test_file_urls(folder: Path, argument: str, expected: list[str]) -> None:
    base = f"file://{folder}"
    assert named(base, f"{base}/{argument}" if argument else base) == expected


@pytest.mark.parametrize(("argument", "expected"), CASES)
def test_urls_that_fsspec_serves(memory: str, argument: str, expected: list[str]) -> None:
    assert named(memory, f"{memory}/{argument}" if argument else memory) == expected


def test_relative_paths_are_made_absolute(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder / "deep")
    assert [item.url for item in search("a.png").files] == [str(folder / "deep/a.png")]
    assert [item.url for item in search("*/c.png").files] == [str(folder / "deep/er/c.png")]


def test_an_existing_file_is_not_a_pattern(folder: Path) -> None:
    path = str(folder / "with space/[x] 50%.png")
    assert [item.url for item in search(path).files] == [path]


@pytest.mark.parametrize("argument", ["nothing", "*.gif", "deep/nothing/*.png"])
def test_an_argument_without_a_match_is_an_error(folder: Path, argument: str) -> None:
    with pytest.raises(UserError, match=f"no images at .*{argument.split('/')[-1].replace('*', '.')}"):
        search(f"{folder}/{argument}")


def test_an_empty_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="the folder is empty"):
        search(str(tmp_path))


def test_an_empty_argument_is_an_error() -> None:
    """It meant the working directory."""
    with pytest.raises(UserError, match=r"got an empty one; \. is this folder"):
        search("")


def test_the_home_of_an_unknown_user_is_an_error() -> None:
    with pytest.raises(UserError, match="must not begin with the home of an unknown user, got ~0"):
        search("~0")


@pytest.mark.parametrize("error", [ValueError("no such repository"), pa.ArrowException("no such repository\nmore")])
def test_an_address_that_its_storage_refuses_is_an_error(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    class Refusing:
        def get_file_info(self, _: str) -> NoReturn:
            raise error

    monkeypatch.setattr("jobs.images.location._open_root", lambda *_: (Refusing(), ""))
    with pytest.raises(UserError, match="cannot list hf://datasets/x: no such repository; check the address and"):
        search("hf://datasets/x")


def test_an_argument_that_is_not_utf8_is_an_error() -> None:
    with pytest.raises(UserError, match=r"a path must be UTF-8, got /data/caf⟨U.DCE9⟩; rename it"):
        search("/data/caf\udce9")


def test_a_hidden_folder_that_a_pattern_names_is_listed(folder: Path) -> None:
    assert named(str(folder), f"{folder}/*/.e.png") == ["deep/.e.png"]


def test_an_unknown_scheme_is_an_error() -> None:
    with pytest.raises(UserError, match="cannot open nosuch://"):
        search("nosuch://host/path")


@pytest.mark.parametrize(
    "text",
    [
        "/a/b c.png",
        "s3://bucket/key with 100%.png",
        "s3://bucket/a/*.png?endpoint_override=localhost:9000&region=x",
        "s3://bucket/a?.png",
        "s3://bucket",
        "file:///a/b",
        "gs://user@bucket/x?retry_limit_seconds=3",
    ],
)
def test_addresses_round_trip(text: str) -> None:
    assert str(Address.parse(text)) == text


def test_storage_options_are_not_a_pattern() -> None:
    address = Address.parse("s3://bucket/a?b*.png?region=x")
    assert (address.root, address.path, address.query) == ("s3://bucket", "/a?b*.png", "?region=x")


def test_bucket_keys_are_literal() -> None:
    filesystem, path = locate("s3://bucket/a b/50%25.png?region=eu-west-1")
    assert path == "bucket/a b/50%25.png"
    again, _ = locate("s3://bucket/other.png?region=eu-west-1")
    assert again is filesystem
