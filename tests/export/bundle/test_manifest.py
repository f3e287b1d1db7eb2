"""An untrusted bundle: its manifest is checked in full before any other file is read."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from export.bundle import format as names
from export.bundle.format import Bundle
from export.storage import Folder
from linear_bundle import write_linear_bundle
from vae_core.errors import UserError

Manifest = dict[str, Any]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_linear_bundle(Folder.at(tmp_path / "bundle"))
    return tmp_path / "bundle"


def refusal(folder: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The error on opening the bundle with `text` as its manifest; it must not read any other file."""
    (folder / names.MANIFEST).write_text(text)
    read = Folder.read

    def reads(self: Folder, name: str, most: int | None = None) -> bytes:
        assert name == names.MANIFEST, f"{name} was read"
        return read(self, name, most)

    with monkeypatch.context() as patch:
        patch.setattr(Folder, "read", reads)
        with pytest.raises(UserError) as refused:
            Bundle.open(str(folder))
    said = str(refused.value)
    assert str(folder) in said
    assert "\n" not in said
    assert len(said) < 500 + len(str(folder))
    return said


def changed(folder: Path, change: Callable[[Manifest], object]) -> str:
    manifest = json.loads((folder / names.MANIFEST).read_text())
    change(manifest)
    return json.dumps(manifest)


@pytest.mark.parametrize(
    "name",
    [
        "../../x",
        "../bundle/scorer.onnx",
        "/etc/passwd",
        "..\\x",
        "sub/scorer.onnx",
        "./scorer.onnx",
        "SCORER.onnx",
        "manifest.json",
        "notes.txt",
        "scorer.onnx\0",
        "",
        "..",
        "\x1b[2J",
        "x" * 10_000,
    ],
)
def test_no_other_name_may_be_listed(folder: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    def add(manifest: Manifest) -> None:
        manifest["files"][name] = manifest["files"]["scorer.onnx"]

    said = refusal(folder, changed(folder, add), monkeypatch)
    assert said.startswith(f"{folder}/manifest.json: files must be of encoder.onnx, ")
    assert "\x1b" not in said
    assert "\0" not in said


@pytest.mark.parametrize("name", names.FILES)
def test_every_file_must_be_listed(folder: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    said = refusal(folder, changed(folder, lambda manifest: manifest["files"].pop(name)), monkeypatch)
    assert f"files['{name}'] must be" in said
    assert "got None" in said


def test_a_name_may_be_listed_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (folder / names.MANIFEST).read_text()
    twice = text.replace('"files": {', '"files": {"scorer.onnx": {"sha256": "0", "bytes": 1},', 1)
    assert "the key 'scorer.onnx' twice" in refusal(folder, twice, monkeypatch)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "3", '"x"', "[" * 100_000, "1" * 5000, '{"format": NaN}'])
def test_an_invalid_manifest_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    assert f"{folder}/manifest.json" in refusal(folder, text, monkeypatch)


@pytest.mark.parametrize("version", [0, 1, names.FORMAT + 1, "2", None, [names.FORMAT], True])
def test_another_format_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch, version: object) -> None:
    # An older bundle has other fields and other files: the error is about its format.
    said = refusal(folder, json.dumps({"format": version, "files": {"model.onnx": "sha"}}), monkeypatch)
    assert f"has bundle format {version!r}, this version reads format {names.FORMAT}; export it again" in said


@pytest.mark.parametrize(
    "field", ["files", "image", "prior", "statistics", "likelihood", "calibration", "probe", "training", "graphs"]
)
@pytest.mark.parametrize("value", [None, 3, "x", [], [1], {}, {"x": {"inputs": 3}}])
def test_fields_of_another_type_are_named(
    folder: Path, monkeypatch: pytest.MonkeyPatch, field: str, value: object
) -> None:
    if field == "statistics" and value == []:
        return
    said = refusal(folder, changed(folder, lambda manifest: manifest.update({field: value})), monkeypatch)
    assert f"manifest.json: {field}" in said
    assert "must be" in said


@pytest.mark.parametrize("entry", [None, 3, "x", [], {}, {"sha256": 3, "bytes": 1}, {"sha256": "0" * 64, "bytes": "1"}])
def test_entries_of_another_type_are_named(folder: Path, monkeypatch: pytest.MonkeyPatch, entry: object) -> None:
    said = refusal(folder, changed(folder, lambda m: m["files"].update({"scorer.onnx": entry})), monkeypatch)
    assert "files['scorer.onnx'] must be a sha256 of 64 hexadecimal digits and a size" in said


@pytest.mark.parametrize(
    "change",
    [
        {"name": 3},
        {"name": None},
        {"meaning": ""},
        {"high": "two\nlines"},
        {"low": "\x1b[2J"},
        {"group": 1},
        {"tolerance": "large"},
        {"more": "of it"},
    ],
)
def test_fields_of_a_statistic_are_checked(
    folder: Path, monkeypatch: pytest.MonkeyPatch, change: dict[str, object]
) -> None:
    said = refusal(folder, changed(folder, lambda m: m["statistics"][0].update(change)), monkeypatch)
    assert "manifest.json: statistics must be statistics with group, name, meaning" in said


@pytest.mark.parametrize("field", ["group", "name", "high", "tolerance"])
def test_a_statistic_has_every_field(folder: Path, monkeypatch: pytest.MonkeyPatch, field: str) -> None:
    said = refusal(folder, changed(folder, lambda m: m["statistics"][0].pop(field)), monkeypatch)
    assert "manifest.json: statistics must be statistics with group, name, meaning" in said


def test_two_statistics_of_one_name_are_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = refusal(folder, changed(folder, lambda m: m["statistics"].append(m["statistics"][0])), monkeypatch)
    assert "manifest.json: statistics must be" in said


@pytest.mark.parametrize("shape", [[1, 8], [1, 8, 0], [1, 8, 8.0], [1, 8, "8"], [True, 8, 8], "188"])
def test_an_invalid_shape_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch, shape: object) -> None:
    said = refusal(folder, changed(folder, lambda m: m["image"].update({"shape": shape})), monkeypatch)
    assert "image.shape must be three positive integers" in said


@pytest.mark.parametrize("resize", [True, "", "stretch", ["letterbox"]])
def test_an_unknown_conversion_of_the_images_is_named(
    folder: Path, monkeypatch: pytest.MonkeyPatch, resize: object
) -> None:
    said = refusal(folder, changed(folder, lambda m: m["image"].update({"resize": resize})), monkeypatch)
    assert "image.resize must be absent or letterbox" in said


def test_files_may_be_symbolic_links(folder: Path, tmp_path: Path) -> None:
    (folder / "scorer.onnx").rename(tmp_path / "elsewhere.onnx")
    (folder / "scorer.onnx").symlink_to(tmp_path / "elsewhere.onnx")
    assert Bundle.open(str(folder)).read("scorer.onnx") == (tmp_path / "elsewhere.onnx").read_bytes()
