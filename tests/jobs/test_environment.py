"""The environment of a command: its locale, its temporary folder, the address of a cluster."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from image_files import encode, pictures
from jobs.bulk import cluster
from jobs.bulk.cluster import connect
from jobs.images.source import find_images
from vae_core.errors import UserError


@pytest.mark.parametrize("settings", [{}, {"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}], ids=["utf8", "ascii"])
def test_a_c_locale_breaks_no_name(tmp_path: Path, settings: dict[str, str]) -> None:
    (tmp_path / "fotografías").mkdir()
    (tmp_path / "fotografías/größe.png").write_bytes(encode(pictures(1)[0]))
    command = ["-m", "jobs.prepare", "--source", "fotografías", "--output", "ausgewählt", "--engine", "local"]
    here = str(Path(__file__).parents[2])
    subprocess.run(
        [sys.executable, *command],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": here, "LC_ALL": "C", **settings},
        check=True,
        capture_output=True,
        timeout=120,
    )
    assert find_images([str(tmp_path / "ausgewählt")]).rows == 1


@pytest.mark.parametrize("address", ["http://127.0.0.1:8265", "https://head:8265"])
def test_the_address_of_a_dashboard_is_not_that_of_a_cluster(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", address)
    with (
        pytest.raises(UserError, match=r"--address or RAY_ADDRESS must be auto or HOST:PORT .*, got http"),
        connect(None),
    ):
        pass


def test_sockets_have_short_paths_though_the_temporary_folder_has_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_TMPDIR", "/tmp")
    assert cluster._temporary_folder() is None
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path / ("a" * 60)))
    assert cluster._temporary_folder() == "/tmp/ray"
    monkeypatch.setattr(cluster, "_SHORT_TEMPORARY", str(tmp_path / "none"))
    with pytest.raises(UserError, match="RAY_TMPDIR must name a folder with at most 39 bytes in its path, got"):
        cluster._temporary_folder()
