"""The page that the demo leaves: it finds both bundles beside it."""

import json
from pathlib import Path

from export.page import FILES
from jobs.demo.job import write_web


def test_the_page_lies_beside_both_bundles(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "wall").mkdir()
    for place in ("bundle", "wall/bundle"):
        (tmp_path / place).symlink_to(bundle)
    for _ in range(2):  # a rerun of the demo writes it again
        write_web(tmp_path)
    web = tmp_path / "web"
    assert {path.name for path in web.iterdir()} == {*FILES, "models.json", "clothes", "wall"}
    for name in json.loads((web / "models.json").read_text()):
        assert json.loads((web / name / "manifest.json").read_text())["web"] == 1
