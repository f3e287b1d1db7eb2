"""A bundle of a ladder: its posterior as a graph, estimates of log p(x) that draw from it, its scorer, its samples."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from bundles import pictures
from export.bundle.format import OF_HIERARCHY, POSTERIOR, Bundle, write_bundle
from export.graphs import parity
from export.graphs.build import Splits, build
from export.graphs.modules import PosteriorGraph
from export.graphs.options import BuildOptions
from export.runtime.agreement import compare
from export.runtime.decoding import Decoding
from export.runtime.device import Device
from export.runtime.encoding import Encoding
from export.runtime.likelihood import LikelihoodEstimator
from export.runtime.sampler import Sampler
from export.runtime.scorer import Scorer
from export.runtime.session import Session
from export.storage import Folder
from jobs.report.sections.bundle import bundle_sections
from ladder_bundles import contents, trained
from targets import check_targets
from vae_core.errors import UserError
from vae_core.estimators import importance_log_weights, log_mean_exp
from vae_core.noise import Purpose, standard_normal

IMAGES = pictures(40, seed=9)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("ladder") / "bundle"
    write_bundle(Folder.at(path), *contents(0))
    return path


@pytest.fixture(scope="module")
def bundle(folder: Path) -> Bundle:
    return Bundle.open(str(folder))


def test_it_has_its_posterior_as_a_graph_and_the_prior_of_training(bundle: Bundle) -> None:
    assert bundle.is_hierarchical
    assert not bundle.is_causal
    inputs = [value["name"] for value in bundle.manifest["graphs"][POSTERIOR]["inputs"]]
    assert inputs == ["image", "noise"]
    assert bundle.prior.name == "normal"  # by default too
    assert bundle.latent_dim == trained(0).noise_size
    assert [group["name"] for group in bundle.manifest["groups"]] == ["path", "levels", "code"]


def test_parity_with_pytorch_was_held_on_hard_images(bundle: Bundle) -> None:
    checks = json.loads(bundle.read("parity.json"))["graphs"]
    assert all(each["ok"] for found in checks.values() for each in found)
    assert len(checks[POSTERIOR]) == 3
    # Again on other images and noise.
    images = parity.probe_images(IMAGES[:24])
    noise = standard_normal(1, Purpose.FIT, range(len(images)), bundle.latent_dim)
    batch, graph = {"image": images, "noise": noise}, PosteriorGraph(trained(0))
    found = Session(bundle.graph(POSTERIOR), provider="cpu").run(batch)
    for difference in compare(found, parity.expected_outputs(graph, batch), graph.outputs):
        assert difference.ok, difference


def test_its_probe_holds_all_inputs(bundle: Bundle) -> None:
    for name in bundle.manifest["graphs"]:
        found = Session(bundle.graph(name), provider="cpu").run(bundle.probe)
        expected = {output: bundle.probe[f"{name.removesuffix('.onnx')}.{output}"] for output in found}
        for difference in compare(found, expected, bundle.outputs(name)):
            assert difference.ok, (name, difference)


def test_the_scorer_does_not_depend_on_the_batch(bundle: Bundle) -> None:
    scorer = Scorer(bundle, provider="cpu")
    together = scorer.score(IMAGES)
    again = scorer.score(IMAGES)
    alone = [scorer.score(image[None]) for image in IMAGES[:5]]
    for name, values in together.items():
        assert np.array_equal(values, again[name])
        np.testing.assert_allclose([each[name][0] for each in alone], values[:5], rtol=1e-4, atol=1e-4)
    strange = scorer.score(255 - IMAGES)
    assert np.median(strange["outlier_score"]) > together["outlier_score"].max()


def test_a_posterior_without_noise_is_at_its_mean(bundle: Bundle) -> None:
    posterior = Encoding(bundle, Device.of("cpu")).posterior(IMAGES[0])
    with torch.inference_mode():
        expected = trained(0).posterior({"image": torch.from_numpy(IMAGES[:1])})
    assert posterior.mean.shape == (bundle.latent_dim,)
    np.testing.assert_allclose(posterior.mean, expected.mean[0], rtol=1e-4, atol=1e-4)
    z, log_q, given = posterior.sample(np.zeros((2, bundle.latent_dim)))
    np.testing.assert_allclose(z, np.stack([posterior.mean] * 2), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(given.log_variance[0], posterior.at_mean.log_variance, rtol=1e-4, atol=1e-4)
    assert log_q[0] == pytest.approx(posterior.at_mean.log_prob(posterior.mean), rel=1e-4)


def test_estimates_draw_from_the_true_posterior(bundle: Bundle) -> None:
    count = 60
    estimator = LikelihoodEstimator(bundle, samples=count, seed=3)
    found = [estimator.estimate(image, row) for row, image in enumerate(IMAGES[:6])]
    noise = standard_normal(3, Purpose.EVALUATE_POSTERIOR, range(6), count * bundle.latent_dim)
    epsilon, batch = torch.from_numpy(noise.reshape(6, count, -1)), {"image": torch.from_numpy(IMAGES[:6])}
    with torch.inference_mode():
        weights = importance_log_weights(trained(0), batch, epsilon)
        elbo = torch.stack([trained(0)(batch, e).elbo for e in epsilon.unbind(1)], dim=1)
    np.testing.assert_allclose([f.importance.log_px for f in found if f.importance], log_mean_exp(weights), rtol=1e-5)
    np.testing.assert_allclose([f.elbo.value for f in found if f.elbo], elbo.mean(1), rtol=1e-5)
    for each in found:
        assert each.elbo is not None
        assert each.importance is not None
        assert each.elbo.value < each.importance.log_px


@pytest.mark.parametrize("causal", [0, 5])
def test_its_decoder_has_a_gradient(causal: int, tmp_path: Path) -> None:
    opened = write_bundle(Folder.at(tmp_path), *contents(causal))
    decoding = Decoding(opened, Device.of("cpu"))
    z = 0.5 * np.random.default_rng(0).standard_normal((2, opened.latent_dim))
    value, gradient = decoding.with_gradient(IMAGES[0], z)
    tensor = torch.from_numpy(z).float().requires_grad_()
    log_px_z = trained(causal).log_px_z({"image": torch.from_numpy(IMAGES[:1]).expand(2, -1, -1, -1)}, tensor)
    np.testing.assert_allclose(value, log_px_z.detach(), rtol=1e-4)
    (expected,) = torch.autograd.grad(log_px_z.sum(), tensor)
    np.testing.assert_allclose(gradient, expected, rtol=1e-3, atol=1e-3 * float(expected.abs().max()))


def test_a_refined_estimate_is_better_than_the_elbo(bundle: Bundle) -> None:
    estimator = LikelihoodEstimator(bundle, samples=20)
    found = estimator.estimate(IMAGES[0], 0, ("elbo", "refined"))
    assert found.elbo is not None
    assert found.refined is not None
    assert found.refined.log_px > found.elbo.value


def test_its_samples_do_not_depend_on_the_others(bundle: Bundle) -> None:
    sampler = Sampler(bundle)
    many = sampler.sample(range(70), seed=1)
    assert np.array_equal(sampler.sample([66, 3], seed=1), many[[66, 3]])
    assert many.std(axis=0).mean() > 1


def test_a_temperature_scales_the_noise_of_all_levels(bundle: Bundle) -> None:
    noise = Sampler(bundle).latents(range(20))
    tempered = Sampler(bundle, temperature=0.5)
    np.testing.assert_array_equal(tempered.latents(range(20)), 0.5 * noise)
    assert np.array_equal(tempered.sample(range(20)), tempered.decode(0.5 * noise))


def test_it_has_no_8_bit_form() -> None:
    held = Splits(IMAGES[:20].repeat(5, 0), IMAGES[20:].repeat(5, 0))
    with pytest.raises(UserError, match="--int8 needs a model of the family conv, got one of ladder"):
        build(trained(0), held, {"history": []}, BuildOptions(samples=2, int8=True))


@pytest.mark.parametrize("change", ["missing", "unlisted"])
def test_its_manifest_lists_the_posterior_if_it_has_one(folder: Path, tmp_path: Path, change: str) -> None:
    copied = tmp_path / "copied"
    shutil.copytree(folder, copied)
    manifest = json.loads((copied / "manifest.json").read_text())
    for name in OF_HIERARCHY:
        del manifest["files"][name]
        if change == "unlisted":  # without it the bundle is one of a diagonal Gaussian
            del manifest["graphs"][name]
            (copied / name).unlink()
    (copied / "manifest.json").write_text(json.dumps(manifest))
    if change == "missing":
        with pytest.raises(UserError, match="graphs must be of"):
            Bundle.open(str(copied))
    else:
        assert not Bundle.open(str(copied)).is_hierarchical


def test_the_report_draws_from_the_posterior(bundle: Bundle) -> None:
    sections = bundle_sections(bundle)
    assert [section.name for section in sections][:2] == ["reconstructions", "samples"]


def test_no_noise_draws_nothing(bundle: Bundle) -> None:
    posterior = Encoding(bundle, Device.of("cpu")).posterior(IMAGES[0])
    none = np.empty((0, bundle.latent_dim))
    assert posterior.draw(none).shape == none.shape
    assert posterior.draw(np.zeros((2, bundle.latent_dim))).shape == (2, bundle.latent_dim)


def test_it_is_written_for_every_runtime(bundle: Bundle, tmp_path: Path) -> None:
    check_targets(bundle, tmp_path)
