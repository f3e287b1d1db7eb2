"""A reference is valid in other processes, and opens the planned bundle or none."""

import pickle
from pathlib import Path

import pytest

from export.bundle.reference import BundleRef
from export.storage import Folder
from gaussian_bundle import write_gaussian_bundle
from vae_core.errors import UserError


def test_a_reference_opens_in_another_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    bundle = write_gaussian_bundle(Folder.at("bundle"))
    sent = pickle.dumps(BundleRef.of(bundle))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    received: BundleRef = pickle.loads(sent)
    assert received.open().hash == bundle.hash
    assert Path(received.manifest).is_file()


def test_a_url_stays_a_url(tmp_path: Path) -> None:
    url = (tmp_path / "bundle").as_uri()
    reference = BundleRef.of(write_gaussian_bundle(Folder.at(url)))
    assert reference.address == url
    assert reference.open().hash == reference.hash


def test_another_bundle_at_the_same_place_is_refused(tmp_path: Path) -> None:
    folder = Folder.at(tmp_path / "bundle")
    planned = BundleRef.of(write_gaussian_bundle(folder))
    folder.delete_all()
    assert write_gaussian_bundle(folder, mean_error=0.1).hash != planned.hash
    with pytest.raises(UserError, match=r"bundle has changed since the job was planned; restore that bundle, or"):
        planned.open()
    folder.delete_all()
    with pytest.raises(UserError, match="is not a bundle"):
        planned.open()
