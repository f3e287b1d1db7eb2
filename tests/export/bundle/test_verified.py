"""A bundle's folder may be anybody's: what is in it, how large it is, and whether it is the bundle that was meant."""

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from export.bundle import format as names
from export.bundle.format import Bundle
from export.runtime.likelihood import LikelihoodEstimator
from export.runtime.sampler import Sampler
from export.runtime.scorer import Scorer
from export.storage import Folder
from linear_bundle import write_linear_bundle
from vae_core.errors import UserError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_linear_bundle(Folder.at(tmp_path / "bundle"))
    return tmp_path / "bundle"


def forge(folder: Path, name: str, content: bytes) -> None:
    """Replace a file and correct its entry in the manifest, as anybody can."""
    (folder / name).unlink()
    (folder / name).write_bytes(content)
    manifest = json.loads((folder / names.MANIFEST).read_text())
    manifest["files"][name] = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    (folder / names.MANIFEST).write_text(json.dumps(manifest))


@pytest.mark.parametrize("open_pinned", [Bundle.open, *(
    lambda url, pin, kind=kind: kind(url, bundle_hash=pin) for kind in (Scorer, Sampler, LikelihoodEstimator)
)])  # fmt: skip
def test_a_bundle_with_corrected_hashes_is_refused_by_its_own(
    folder: Path, open_pinned: Callable[[str, str], object]
) -> None:
    pin = Bundle.open(str(folder)).hash
    open_pinned(str(folder), pin)
    open_pinned(str(folder), pin.upper())
    forge(folder, names.CARD, b"another card")
    found = Bundle.open(str(folder)).hash
    with pytest.raises(UserError, match=rf"bundle must be the bundle of hash {pin}, got {found}; get that bundle"):
        open_pinned(str(folder), pin)


def test_an_open_bundle_is_compared_with_the_hash_too(folder: Path) -> None:
    bundle = Bundle.open(str(folder))
    assert Scorer(bundle, bundle_hash=bundle.hash).bundle is bundle
    with pytest.raises(UserError, match="must be the bundle of hash 0000"):
        Scorer(bundle, bundle_hash="0" * 64)


@pytest.mark.parametrize("pin", ["", "abc", "g" * 64, "0" * 63, " " + "0" * 63, "0" * 63 + "\n"])
def test_what_is_no_hash_pins_nothing(folder: Path, pin: str) -> None:
    with pytest.raises(UserError, match="a bundle's hash must be 64 hexadecimal digits, as `vae inspect` prints it"):
        Bundle.open(str(folder), pin)


def test_the_pin_is_checked_before_the_manifest_is_parsed(folder: Path) -> None:
    (folder / names.MANIFEST).write_text("{")
    with pytest.raises(UserError, match="must be the bundle of hash"):
        Bundle.open(str(folder), "0" * 64)


@pytest.mark.parametrize("other", ["notes.txt", "custom_operators.so", "classes.onnx", "model.sig.txt", "sub/x"])
def test_a_file_that_is_not_listed_is_refused(folder: Path, other: str) -> None:
    (folder / other).parent.mkdir(exist_ok=True)
    (folder / other).write_text("mine")
    with pytest.raises(UserError, match=rf"must hold the files that its manifest lists only, got '{other[:4]}"):
        Bundle.open(str(folder))


def test_a_signature_and_hidden_files_may_be_there(folder: Path) -> None:
    (folder / "model.sig").write_text("{}")
    (folder / ".DS_Store").write_text("")
    (folder / ".cache").mkdir()
    bundle = Bundle.open(str(folder))
    for name in ("model.sig", ".DS_Store"):
        with pytest.raises(KeyError):
            bundle.read(name)


def test_an_export_that_did_not_end_leaves_nothing_unlisted(tmp_path: Path) -> None:
    (tmp_path / names.CLASSES).write_bytes(b"of another model")
    write_linear_bundle(Folder.at(tmp_path))
    Bundle.open(str(tmp_path))
    assert not (tmp_path / names.CLASSES).exists()


@pytest.mark.parametrize("name", [names.MANIFEST, names.PROBE, names.SCORER])
def test_a_pipe_or_folder_in_place_of_a_file_is_refused_without_reading_it(folder: Path, name: str) -> None:
    (folder / name).unlink()
    os.mkfifo(folder / name)
    with pytest.raises(UserError, match=rf"{name} must be a regular file, got a folder, pipe or device"):
        Bundle.open(str(folder))
    (folder / name).unlink()
    (folder / name).symlink_to("/dev/zero")
    with pytest.raises(UserError, match=rf"{name} must be a regular file"):
        Bundle.open(str(folder))


def test_no_more_than_the_listed_size_is_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with (folder / names.PROBE).open("r+b") as file:
        file.truncate(1 << 42)  # a sparse file
    listed = json.loads((folder / names.MANIFEST).read_text())["files"][names.PROBE]["bytes"]
    with pytest.raises(UserError, match=rf"probe.npz must have at most {listed:,} bytes, got {1 << 42:,}"):
        Bundle.open(str(folder))


def test_a_manifest_is_of_bounded_size(folder: Path) -> None:
    with (folder / names.MANIFEST).open("r+b") as file:
        file.truncate(1 << 42)
    with pytest.raises(UserError, match=r"manifest.json must have at most 67,108,864 bytes"):
        Bundle.open(str(folder))
