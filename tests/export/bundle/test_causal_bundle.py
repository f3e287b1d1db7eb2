"""A bundle of a model with a causal layer: its two more graphs, draws pixel by pixel, estimates of log p(x)."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from export.bundle.format import CONDITIONAL, OF_CAUSAL, Bundle, write_bundle
from export.graphs.build import Splits, build
from export.graphs.options import BuildOptions
from export.runtime.annealing import Annealing
from export.runtime.likelihood import LikelihoodEstimator
from export.runtime.sampler import Sampler
from export.runtime.scorer import Scorer
from export.runtime.session import Session
from export.storage import Folder
from tests.bundles import BUNDLE, SHAPE, TRAINING, pictures, trained
from tests.targets import check_targets
from vae_core.errors import UserError
from vae_core.models.conv.model import ConvVAE

IMAGES = pictures(400, seed=7)


def causal() -> ConvVAE:
    return trained(causal=5)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("causal") / "bundle"
    contents = build(causal(), Splits(IMAGES[:200], IMAGES[200:]), TRAINING, BUNDLE)
    write_bundle(Folder.at(str(path)), contents.manifest, contents.files)
    return path


@pytest.fixture(scope="module")
def bundle(folder: Path) -> Bundle:
    return Bundle.open(str(folder))


def test_it_has_the_graphs_of_the_layer(bundle: Bundle) -> None:
    assert bundle.is_causal
    assert set(OF_CAUSAL) <= bundle.manifest["graphs"].keys()
    assert [value["name"] for value in bundle.manifest["graphs"][CONDITIONAL]["inputs"]] == ["image", "z"]


def test_its_probe_holds_all_inputs(bundle: Bundle) -> None:
    for name in OF_CAUSAL:
        found = Session(bundle.graph(name), provider="cpu").run(bundle.probe)
        for output, value in found.items():
            expected = bundle.probe[f"{name.removesuffix('.onnx')}.{output}"]
            np.testing.assert_allclose(value, expected, rtol=1e-5, atol=1e-4)


def test_its_likelihood_is_the_models(bundle: Bundle) -> None:
    z = np.random.default_rng(0).standard_normal((5, bundle.latent_dim)).astype(np.float32)
    found = Session(bundle.graph(CONDITIONAL), provider="cpu").run({"image": IMAGES[:5], "z": z})["log_px_z"]
    with torch.inference_mode():
        expected = causal().log_px_z({"image": torch.from_numpy(IMAGES[:5])}, torch.from_numpy(z)).numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_a_draw_follows_from_its_own_distributions(bundle: Bundle) -> None:
    sampler = Sampler(bundle)
    drawn, z = sampler.sample(range(6), seed=3, draw=True), sampler.latents(range(6), seed=3)
    network = causal()
    with torch.inference_mode():
        given = network.decode_given(torch.from_numpy(drawn), torch.from_numpy(z))
    wide = {name: value.double().numpy() for name, value in given.items()}
    family = network.likelihood
    noise = family.noise(np.arange(6), 3, int(np.prod(SHAPE))).reshape(-1, *SHAPE)  # type: ignore[attr-defined]
    again = np.clip(np.rint(family.draw_from(noise, wide)), 0, 255)  # type: ignore[attr-defined]
    # In one pass, where rounding of a parameter may move a level.
    assert np.abs(again - drawn).max() <= 1
    assert (again == drawn).mean() > 0.999


def test_a_draw_does_not_depend_on_the_others(bundle: Bundle) -> None:
    sampler = Sampler(bundle)
    many = sampler.sample(range(70), seed=1, draw=True)
    assert np.array_equal(sampler.sample([66, 3], seed=1, draw=True), many[[66, 3]])
    assert not np.array_equal(sampler.sample(range(2), seed=1), many[:2])  # the mean takes one pass, without the layer


def test_refined_estimates_take_the_layer_into_account(bundle: Bundle) -> None:
    estimator = LikelihoodEstimator(bundle, samples=40)
    for row in range(3):
        found = estimator.estimate(IMAGES[row], row, ("elbo", "refined"))
        assert found.elbo is not None
        assert found.refined is not None
        assert found.refined.log_px > found.elbo.value - 5 * found.elbo.variance**0.5
        lower = Scorer(bundle, likelihood=True).score(IMAGES[row : row + 1])["log_px"][0]
        assert found.refined.log_px == pytest.approx(lower, abs=20)


def test_the_certificate_is_of_images_drawn_pixel_after_pixel(bundle: Bundle) -> None:
    estimator = LikelihoodEstimator(bundle, annealing=Annealing(chains=8, temperatures=60))
    certificates = [estimator.certify(index) for index in range(3)]
    # An image drawn in one pass is no draw from p(x|z): its bounds are tens of nats apart.
    assert max(abs(each.reverse.log_px - each.forward.log_px) for each in certificates) < 2


def test_in_8_bit_integers_too(tmp_path: Path) -> None:
    splits = Splits(IMAGES[:200], IMAGES[200:])
    contents = build(causal(), splits, TRAINING, BuildOptions(samples=8, int8=True))
    assert set(OF_CAUSAL) <= contents.files.keys()
    check_targets(write_bundle(Folder.at(tmp_path / "bundle"), *contents), tmp_path)


@pytest.mark.parametrize("name", OF_CAUSAL)
def test_both_graphs_belong_together(folder: Path, tmp_path: Path, name: str) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    del manifest["files"][name]
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(UserError, match=f"files\\['{name}'\\] must be"):
        Bundle.open(str(tmp_path))


def test_it_is_written_for_every_runtime(bundle: Bundle, tmp_path: Path) -> None:
    check_targets(bundle, tmp_path)
