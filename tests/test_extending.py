"""docs/extending.md does what it says: its files and snippets run, and what they make passes the checks of its kind."""

import pkgutil
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch

from documents import ROOT, blocks, files
from export.bundle.format import Bundle
from export.graphs.build import Splits, build
from export.graphs.options import BuildOptions
from export.runtime.agreement import compare
from export.runtime.scorer import Scorer
from vae_core import models

PAGE = ROOT / "docs" / "extending.md"


@pytest.fixture
def reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The working directory of somebody who follows the page, with its files in it."""
    before = set(sys.modules)
    for name, text in files(PAGE).items():
        (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(models, "FAMILIES", dict(models.FAMILIES))
    yield tmp_path
    for name in set(sys.modules) - before:
        if name.partition(".")[0] in {path.stem for path in tmp_path.glob("*.py")}:
            del sys.modules[name]


def snippet(name: str) -> dict[str, Any]:
    """What the snippet that imports the module `name` leaves behind."""
    (text,) = (
        block for block in blocks(PAGE, "python") if f"\nfrom {name} import" in f"\n{block}" and block[:2] != "# "
    )
    namespace: dict[str, Any] = {}
    exec(compile(text, PAGE.name, "exec"), namespace)
    return namespace


def test_the_entry_point_is_the_family(reader: Path) -> None:
    (text,) = blocks(PAGE, "toml")
    (value,) = tomllib.loads(text)["project"]["entry-points"]["vae_core.families"].values()
    assert isinstance(pkgutil.resolve_name(value), models.Family)


def test_the_family_learns_and_is_exported(reader: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = snippet("linear_config")
    trained, images = made["optimisation"].average.eval(), made["images"]
    assert capsys.readouterr().out.startswith("ELBO -")
    batch, noise = {"image": torch.from_numpy(images)}, torch.zeros(len(images), 4)
    with torch.no_grad():
        untrained = models.seeded(made["config"], seed=0)(batch, noise)
        assert made["model"](batch, noise).elbo.mean() > untrained.elbo.mean() + 10

    splits = Splits(validation=images[:200], calibration=images[200:])
    contents = build(trained, splits, {"history": []}, BuildOptions(samples=2, prior="normal"))
    assert contents.manifest["model"]["family"] == "linear"
    assert len(contents.manifest["graphs"]) == 5


def test_the_export_target_computes_the_probe(reader: Path, bundle: Path) -> None:
    (reader / "bundles").mkdir()
    (reader / "bundles" / "photos").symlink_to(bundle)
    snippet("triton_repository")
    opened = Bundle.open(str(bundle))
    configuration = (reader / "repository" / "scorer" / "config.pbtxt").read_text()
    session = onnxruntime.InferenceSession(reader / "repository" / "scorer" / "1" / "model.onnx")
    assert {output.name for output in session.get_outputs()} == {value.name for value in opened.outputs("scorer.onnx")}
    for value in (*session.get_inputs(), *session.get_outputs()):
        assert f'name: "{value.name}"' in configuration
    names = [output.name for output in session.get_outputs()]
    found = dict(zip(names, session.run(names, {"image": opened.probe["image"]}), strict=True))
    expected = Scorer(opened, provider="cpu").score(opened.probe["image"])
    for difference in compare(found, expected, opened.outputs("scorer.onnx")):
        assert difference.ok, difference
    assert np.isfinite(found["outlier_score"]).all()
