"""docs/extending.md works: its files and snippets run, and their results pass the tests of their kind."""

import importlib.util
import pkgutil
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnxruntime
import pytest
import torch

from bundles import SHAPE, pictures
from documents import ROOT, blocks, files
from export.bundle.format import Bundle
from export.graphs.build import Splits, build
from export.graphs.options import BuildOptions
from export.guarantees.p_values import P_VALUE
from export.runtime.agreement import compare
from export.storage import Folder
from export.targets import write_target
from vae_core import likelihoods, models
from vae_core.config import TrainConfig
from vae_core.likelihoods import likelihood
from vae_core.likelihoods.base import Factorised, Likelihood
from vae_core.models.conv.config import ConvConfig
from vae_core.optimisation import Optimisation, to_device

PAGE = ROOT / "docs" / "extending.md"


@pytest.fixture
def reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The working directory of a reader who follows the page, with its files in it."""
    before = set(sys.modules)
    for name, text in files(PAGE).items():
        if "/" not in name:
            (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(models, "FAMILIES", dict(models.FAMILIES))
    yield tmp_path
    for name in set(sys.modules) - before:
        if name.partition(".")[0] in {path.stem for path in tmp_path.glob("*.py")}:
            del sys.modules[name]


def snippet(name: str) -> dict[str, Any]:
    """The variables of the snippet that imports the module `name`."""
    (text,) = (
        block for block in blocks(PAGE, "python") if f"\nfrom {name} import" in f"\n{block}" and block[:2] != "# "
    )
    namespace: dict[str, Any] = {}
    exec(compile(text, PAGE.name, "exec"), namespace)
    return namespace


def register(place: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Import the page's file in that place of the packages, written to `folder`, as the module that it is there."""
    ((path, text),) = ((path, text) for path, text in files(PAGE).items() if place in path)
    file = folder / Path(path).name
    file.write_text(text)
    name = path.removesuffix(".py").replace("/", ".")
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setitem(sys.modules, name, module)


@pytest.fixture
def laplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Likelihood:
    """The likelihood of the page, registered: its file as a module, its name in the list of names."""
    register("/likelihoods/", tmp_path, monkeypatch)
    monkeypatch.setattr(likelihoods, "LikelihoodName", Literal["laplace"])
    return likelihood("laplace")  # type: ignore[arg-type]


def test_the_likelihood_is_a_density_and_draws_from_it(laplace: Likelihood) -> None:
    level = torch.linspace(-2550, 2805, 40_001, dtype=torch.float64)  # far beyond [0, 255] on both sides
    raw = torch.tensor([[0.3, -0.2], [-1.0, 0.5]], dtype=torch.float64)  # location and log-scale of two pixels
    parameters = {name: value.squeeze(0) for name, value in laplace.constrain(raw[:, None, :]).items()}
    width = float(level[1] - level[0]) / 255
    log_prob = laplace.log_prob(level[:, None], parameters)
    torch.testing.assert_close(log_prob.exp().sum(0) * width, torch.ones(2, dtype=torch.float64), rtol=0, atol=1e-4)
    assert (log_prob <= laplace.log_peak(parameters)).all()
    arrays = {name: value.numpy() for name, value in parameters.items()}
    np.testing.assert_allclose(laplace.log_prob_float64(level.numpy()[:, None], arrays), log_prob, rtol=1e-12)

    # The distribution function at a draw is the uniform number that the draw was made from.
    assert isinstance(laplace, Factorised)
    u = np.array([0.05, 0.4, 0.5, 0.9])[:, None]
    drawn = laplace.draw_from(np.broadcast_to(u, (4, 2)), arrays)
    mass = log_prob.exp().numpy() * width
    below = np.array([[mass[level.numpy() <= drawn[i, j], j].sum() for j in range(2)] for i in range(4)])
    np.testing.assert_allclose(below, np.broadcast_to(u, (4, 2)), atol=2e-3)


def test_a_model_learns_with_the_likelihood(laplace: Likelihood) -> None:
    name: Any = "laplace"
    config = ConvConfig(image_shape=SHAPE, latent_dim=4, widths=(8, 16), hidden=16, likelihood=name)
    model = models.seeded(config, seed=0)
    assert model.likelihood.name == "laplace"
    optimisation = Optimisation(to_device(model, "cpu"), TrainConfig(epochs=1, learning_rate=1e-2, warmup_steps=1), 30)
    images = {"image": torch.from_numpy(pictures(32))}
    elbo = [optimisation.step(images, torch.zeros(32, 4)).elbo for _ in range(30)]
    assert elbo[-1] > elbo[0] + 0.1 * config.dimensions


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
    assert "gradient.onnx" in contents.manifest["graphs"]


def test_the_export_target_computes_the_probe(bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    register("/targets/", tmp_path, monkeypatch)
    opened = Bundle.open(str(bundle))
    write_target("standalone", opened, Folder.at(tmp_path / "standalone"))
    with np.load(tmp_path / "standalone" / "probe.npz") as probe:
        for graph in opened.manifest["graphs"]:
            content = (tmp_path / "standalone" / graph).read_bytes()  # alone: without a folder there is no weights.bin
            session = onnxruntime.InferenceSession(content)
            names = [output.name for output in session.get_outputs()]
            found = session.run(names, {each.name: probe[each.name] for each in session.get_inputs()})
            expected = {name: probe[f"{graph.removesuffix('.onnx')}.{name}"] for name in names}
            outputs = [output for output in opened.outputs(graph) if output.name != P_VALUE]
            for difference in compare(dict(zip(names, found, strict=True)), expected, outputs):
                assert difference.ok, difference
