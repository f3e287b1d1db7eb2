"""The feature space: components have variance one, and a network is what it was when the job was planned."""

from pathlib import Path

import numpy as np
import pytest

from export.runtime.device import Device
from export.storage import Folder
from jobs.evaluate.quality.space import FILE, FILTER_BANK, Components, Network, NetworkRef, choose_network
from quality_networks import PIXELS_AS_VECTOR, SHAPE
from vae_core.errors import UserError


def test_components_have_mean_zero_and_variance_one_whatever_the_scales() -> None:
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(500, 90)) @ rng.normal(size=(90, 90)) * rng.uniform(0.1, 1e4, 90) + 1e3
    found = Components.of(vectors).project(vectors)
    assert found.shape == (500, 64)
    np.testing.assert_allclose(found.mean(0), 0, atol=1e-4)
    np.testing.assert_allclose(np.cov(found, rowvar=False), np.eye(64), atol=1e-4)
    # Those of most variance after standardisation: no other direction would explain more.
    standard = (vectors - vectors.mean(0)) / vectors.std(0)
    explained = np.linalg.svd(standard, compute_uv=False)[:64]
    along = np.linalg.svd(found.T @ standard / 499, compute_uv=False)
    np.testing.assert_allclose(np.sort(along)[::-1], explained / np.sqrt(499), rtol=1e-4)


def test_constant_and_repeated_features_are_no_components() -> None:
    rng = np.random.default_rng(1)
    vectors = rng.normal(size=(100, 3)) @ rng.normal(size=(3, 10))
    vectors[:, 4] = 7.0
    components = Components.of(vectors)
    assert components.project(vectors).shape == (100, 3)
    shifted = vectors.copy()
    shifted[:, 4] += 1e-6  # rounding of a constant feature
    np.testing.assert_allclose(components.project(shifted), components.project(vectors), atol=1e-3)
    assert Components.of(vectors[:3]).project(vectors).shape[1] <= 2


def test_a_network_is_chosen_and_written_once(tmp_path: Path) -> None:
    file = tmp_path / "net.onnx"
    file.write_bytes(PIXELS_AS_VECTOR)
    network = choose_network(str(file), SHAPE)
    assert (network.name, network.content) == ("net.onnx", PIXELS_AS_VECTOR)
    folder = Folder.at(tmp_path / "out")
    ref = NetworkRef.write(network, SHAPE, folder)
    written = (tmp_path / "out" / FILE).stat().st_mtime_ns
    assert NetworkRef.write(network, SHAPE, folder) == ref
    assert (tmp_path / "out" / FILE).stat().st_mtime_ns == written
    assert ref.open(SHAPE, Device("cpu")).size == np.prod(SHAPE)
    folder.write(FILE, PIXELS_AS_VECTOR + b"\0")
    with pytest.raises(UserError, match=f"{FILE} has changed since the job was planned; choose another --output"):
        ref.open(SHAPE, Device("cpu"))


def test_without_a_file_it_is_the_filter_bank(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch")
    network = choose_network(None, SHAPE)
    assert network == Network(FILTER_BANK, None)
    assert network.identity() == FILTER_BANK
    monkeypatch.setattr("jobs.evaluate.quality.space.find_spec", lambda name: None)
    with pytest.raises(UserError, match="needs torch to build its filter bank; install"):
        choose_network(None, SHAPE)


def test_files_that_cannot_be_used_are_refused(tmp_path: Path) -> None:
    missing = tmp_path / "missing.onnx"
    with pytest.raises(
        UserError, match=f"--quality-features must be an ONNX file, got {missing}, which cannot be read"
    ):
        choose_network(str(missing), SHAPE)
    (tmp_path / "bad.onnx").write_bytes(b"bad")
    with pytest.raises(UserError, match=r"--quality-features .*bad.onnx must be an ONNX file that holds its weights"):
        choose_network(str(tmp_path / "bad.onnx"), SHAPE)
