"""A bundle: written whole or not at all, verified when opened, and equal to PyTorch."""

import copy
import hashlib
import typing
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from bundles import SHAPE, codes, contents, described, pictures, trained
from export.bundle.format import Bundle, write_bundle
from export.bundle.weights import WEIGHTS
from export.graphs import adjoints, parity
from export.graphs.build import Splits, build
from export.graphs.convert import to_onnx
from export.graphs.fit import fit_outlier_model
from export.graphs.modules import EncoderGraph, ExplainerGraph, LikelihoodGraph, ScorerGraph
from export.graphs.options import BuildOptions
from export.guarantees.p_values import p_values
from export.owner import Owner
from export.runtime.agreement import compare
from export.runtime.device import cuda_devices
from export.runtime.likelihood import LikelihoodEstimator
from export.runtime.sampler import Sampler
from export.runtime.scorer import Scorer
from export.runtime.session import Session
from export.storage import Folder
from vae_core.errors import UserError
from vae_core.estimators import importance_log_weights, log_mean_exp
from vae_core.latents import StandardNormal
from vae_core.likelihoods import LikelihoodName
from vae_core.noise import antithetic
from vae_core.outliers.groups import statistics_of
from vae_core.outputs import Output


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return write_bundle(Folder.at(tmp_path_factory.mktemp("bundle")), *contents())


def test_a_bundle_opens_as_it_was_written(bundle: Bundle) -> None:
    opened = Bundle.open(bundle.folder.url)
    assert opened.hash == bundle.hash
    assert opened.shape == SHAPE
    assert opened.latent_dim == 6
    assert set(bundle.folder.names()) == {*opened.manifest["files"], "manifest.json"}
    for name, entry in opened.manifest["files"].items():
        data = bundle.folder.read(name)
        assert (len(data), hashlib.sha256(data).hexdigest()) == (entry["bytes"], entry["sha256"])
    assert "| in | `image` | uint8 | [N, 1, 20, 16] |" in bundle.folder.read_text("README.md")
    assert len(opened.examples) == 32


def test_its_gradient_takes_no_weights_of_its_own(bundle: Bundle) -> None:
    shared = {values.ctypes.data for values in bundle.graph("decoder.onnx").weights.values()}
    own = bundle.graph("gradient.onnx").weights.values()
    assert {values.ctypes.data for values in own} <= shared
    assert len(bundle.read("gradient.onnx")) < 100_000


def test_a_bundle_without_a_gradient_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(adjoints.ADJOINTS, "Exp")
    held = Splits(validation=pictures(100, seed=1), calibration=pictures(99, seed=2))
    made = build(trained(), held, {"history": []}, BuildOptions(samples=2, prior="normal"))
    assert made.manifest["without_gradient"] == "the operator Exp has no gradient here"
    bundle = write_bundle(Folder.at(tmp_path), *made)
    assert not bundle.has_gradient
    estimator = LikelihoodEstimator(bundle, samples=4)
    assert estimator.estimate(bundle.examples[0], 0, ["elbo"]).elbo is not None
    with pytest.raises(UserError, match=r"the estimator refined needs the gradient of log p\(x\|z\), but .* has no"):
        estimator.estimate(bundle.examples[0], 0, ["refined"])


def test_the_manifest_describes_the_graphs(bundle: Bundle) -> None:
    for name, interface in bundle.manifest["graphs"].items():
        session = Session(bundle.graph(name), provider="cpu")
        assert [value["name"] for value in interface["inputs"]] == list(session.input_names)
        assert tuple(value["name"] for value in interface["outputs"]) == session.output_names
        for value in (*interface["inputs"], *interface["outputs"]):
            assert value["shape"][0] == "N"
            assert all(isinstance(d, int) for d in value["shape"][1:])
        assert interface["inputs"][0]["type"] == ("float32" if name == "decoder.onnx" else "uint8")


def test_graphs_have_no_build_metadata_and_no_random_nodes(bundle: Bundle) -> None:
    for name in bundle.manifest["graphs"]:
        model = onnx.load_model_from_string(bundle.read(name))
        assert not any("Random" in node.op_type or node.op_type == "Bernoulli" for node in model.graph.node)
        assert not any(node.metadata_props or node.doc_string for node in model.graph.node)
        assert b".py" not in bundle.read(name)


@pytest.mark.parametrize("position", [0, -1])
def test_one_changed_byte_is_refused(bundle: Bundle, tmp_path: Path, position: int) -> None:
    for name in bundle.manifest["files"]:
        copy = Folder.at(tmp_path / name)
        for other in bundle.folder.names():
            copy.write(other, bundle.folder.read(other))
        data = bytearray(copy.read(name))
        data[position] ^= 1
        copy.write(name, bytes(data))
        with pytest.raises(UserError, match=rf"{name} is not what was exported"):
            Bundle.open(copy.url)
        copy.delete(name)
        with pytest.raises(UserError, match=rf"{name} is missing"):
            Bundle.open(copy.url)


def test_a_directory_without_a_manifest_is_not_a_bundle(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"is not a bundle: it has no manifest\.json"):
        Bundle.open(str(tmp_path))


def test_a_file_that_a_killed_export_was_writing_is_deleted(tmp_path: Path) -> None:
    gone = Owner.current()._replace(started=1)
    (tmp_path / f".decoder.onnx.{gone}.{'0' * 8}").touch()
    (tmp_path / "decoder.onnx").touch()
    write_bundle(Folder.at(tmp_path), *contents())
    assert not [path.name for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_an_occupied_directory_is_left_alone(bundle: Bundle, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds a bundle already"):
        write_bundle(bundle.folder, *contents())
    (tmp_path / "thesis.doc").touch()
    with pytest.raises(UserError, match=r"holds other files \(thesis\.doc\)"):
        write_bundle(Folder.at(tmp_path), *contents())
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.doc"]


@pytest.mark.parametrize("name", typing.get_args(LikelihoodName))
def test_onnx_runtime_equals_pytorch_beyond_the_probe_batch(name: LikelihoodName) -> None:
    shape = SHAPE if name == "discretised-logistic" else (3, 10, 13)  # padded inside, in colour
    model = trained(name, shape)
    images = parity.probe_images(pictures(40, shape, seed=9))
    batch = torch.from_numpy(images)
    noise = torch.from_numpy(antithetic(0, 8, 6))
    with torch.inference_mode():
        log_weights = importance_log_weights(model, {"image": batch}, noise)
    outlier = fit_outlier_model(described(model, images), model.statistic_groups, codes(model))
    graph = LikelihoodGraph(model, noise, StandardNormal(6))
    for each in (ScorerGraph(model, outlier), ExplainerGraph(model, outlier), graph):
        parity.check(type(each).__name__, to_onnx(each, "graph", {"image": images}), each, {"image": images})
    found = Session(to_onnx(graph, "likelihood", {"image": images}), provider="cpu").run({"image": images})
    # The graph decodes all samples at once, the estimator one after the other.
    (log_px,) = (output for output in graph.outputs if output.name == "log_px")
    differences = compare(found, {"log_px": log_mean_exp(log_weights).numpy()}, [log_px])
    assert all(d.ok for d in differences), differences
    # With antithetic noise the sampled KL is the closed one, so the mean log-weight is the ELBO.
    np.testing.assert_allclose(found["elbo"], log_weights.mean(1).numpy(), rtol=1e-4, atol=1e-2)
    assert (found["log_px"] >= found["elbo"] - 1e-3).all()
    assert ((found["effective_samples"] >= 0.99) & (found["effective_samples"] <= 8.01)).all()


def test_a_graph_that_differs_is_refused(bundle: Bundle) -> None:
    model = trained()
    converted = to_onnx(EncoderGraph(model), "encoder", bundle.probe)
    other = copy.deepcopy(model)
    with torch.no_grad():
        other.encoder.posterior.bias[-1] += 1e-3
    with pytest.raises(UserError, match=r"encoder\.onnx: output log_variance must equal PyTorch.*no bundle"):
        parity.check("encoder.onnx", converted, EncoderGraph(other), bundle.probe)


def test_diverged_weights_write_nothing(tmp_path: Path) -> None:
    broken = trained()
    held = Splits(validation=pictures(60, seed=1), calibration=pictures(60, seed=2))
    original = broken.decoder.expand.weight.detach().clone()
    try:
        with torch.no_grad():
            broken.decoder.expand.weight[0, 0] = float("nan")
        with pytest.raises(UserError, match="diverged"):
            write_bundle(Folder.at(tmp_path / "b"), *build(broken, held, {}, BuildOptions(samples=4)))
    finally:
        with torch.no_grad():
            broken.decoder.expand.weight.copy_(original)
    assert not (tmp_path / "b").exists()


def test_compare_fails_on_differences_and_nan() -> None:
    def agrees(output: Output, found: np.ndarray, expected: np.ndarray) -> bool:
        return compare({output.name: found}, {output.name: expected}, [output])[0].ok

    kl, reference = Output("kl", "", "nats"), np.array([1.0, 100.0])
    assert agrees(kl, np.array([1.0 + 9e-6, 100.0 + 9e-4]), reference)
    assert not agrees(kl, np.array([1.0 + 2e-5, 100.0]), reference)
    assert agrees(kl._replace(scale=10.0), np.array([1.0 + 2e-5, 100.0]), reference)
    assert agrees(kl._replace(tolerance=1e-4), np.array([1.0 + 2e-5, 100.0]), reference)
    assert not agrees(kl, np.array([np.nan, 100.0]), reference)
    image, levels = Output("image", "", "grey levels"), np.array([10, 20], dtype=np.uint8)
    assert agrees(image, levels + np.array([1, -1], dtype=np.int8).view(np.uint8), levels)
    assert not agrees(image, levels + np.uint8(2), levels)


@pytest.mark.parametrize("samples", [0, 3, -2])
def test_invalid_sample_counts_are_refused(samples: int) -> None:
    with pytest.raises(UserError, match=f"--samples must be an even number .* got {samples}"):
        BuildOptions(samples=samples)


def test_too_few_held_out_images_are_refused() -> None:
    with pytest.raises(UserError, match="19 calibration images"):
        build(trained(), Splits(pictures(30), pictures(19)), {}, BuildOptions(samples=4))


def test_the_probe_batch_checks_any_runtime(bundle: Bundle) -> None:
    probe = bundle.probe
    for name in bundle.manifest["graphs"]:
        title = name.removesuffix(".onnx")
        found = Session(bundle.graph(name), provider="cpu").run(probe)
        expected = {output: probe[f"{title}.{output}"] for output in found}
        assert all(d.ok for d in compare(found, expected, bundle.outputs(name)))


def test_the_folder_serves_any_runtime(bundle: Bundle) -> None:
    for name in bundle.manifest["graphs"]:
        path = bundle.folder.file(name)
        onnx.checker.check_model(path, full_check=True)
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        values = session.run(None, {value.name: bundle.probe[value.name] for value in session.get_inputs()})
        found = {output.name: value for output, value in zip(session.get_outputs(), values, strict=True)}
        expected = {output: bundle.probe[f"{name.removesuffix('.onnx')}.{output}"] for output in found}
        assert all(d.ok for d in compare(found, expected, bundle.outputs(name)))


def test_every_weight_is_kept_once(bundle: Bundle) -> None:
    shared = 0
    for parameter in trained().parameters():
        data = parameter.detach().numpy().tobytes()
        if len(data) >= 1024:
            shared += 1
            assert bundle.read(WEIGHTS).count(data) == 1
            assert not any(data in bundle.read(name) for name in bundle.manifest["graphs"])
    assert shared > 3


class TestScorer:
    def test_scores_do_not_depend_on_the_batch(self, bundle: Bundle) -> None:
        images = np.concatenate([pictures(30, seed=5), bundle.probe["image"]])
        reference = Scorer(bundle, likelihood=True, batch_size=64, provider="cpu").score(images)
        assert len(reference["p_value"]) == len(images)
        for size in (1, 7):
            found = Scorer(bundle, likelihood=True, batch_size=size, provider="cpu").score(images)
            for name, value in reference.items():
                if name == "p_value":
                    continue
                limit = {"effective_samples": 1e-2, "outlier_score": 1e-4, "log_aggregate_posterior": 1e-4}.get(
                    name, 1e-5
                )
                assert (np.abs(found[name] - value) <= limit * np.maximum(1, np.abs(value))).all(), name
            expected = p_values(bundle.calibration_scores, found["outlier_score"]).astype(np.float32)
            np.testing.assert_array_equal(found["p_value"], expected)

    def test_outputs_are_named_and_bits_follow_from_log_px(self, bundle: Bundle) -> None:
        scorer = Scorer(bundle, likelihood=True)
        scores = scorer.score(pictures(3))
        assert tuple(scores) == scorer.output_names
        assert all(value.dtype == np.float32 and value.shape == (3,) for value in scores.values())
        np.testing.assert_allclose(scores["bits_per_dim"], -scores["log_px"] / (20 * 16 * np.log(2)), rtol=1e-6)
        assert "log_px" not in Scorer(bundle).score(pictures(1))

    def test_outliers_have_low_p_values_and_inliers_uniform_ones(self, bundle: Bundle) -> None:
        scorer = Scorer(bundle)
        inliers = scorer.score(pictures(400, seed=77))["p_value"]
        outliers = scorer.score(255 - pictures(50, seed=5))["p_value"]
        assert abs(inliers.mean() - 0.5) < 0.1
        assert (outliers <= 0.01).all()

    def test_explanations_match_the_scores(self, bundle: Bundle) -> None:
        scorer = Scorer(bundle, batch_size=7, provider="cpu")
        images = np.concatenate([pictures(10, seed=5), 255 - pictures(5, seed=6)])
        found = scorer.explain(images)
        assert bundle.statistics == statistics_of(trained().statistic_groups)
        scores = scorer.score(images)
        np.testing.assert_allclose(found["contributions"].sum(axis=1), scores["outlier_score"], rtol=1e-3)
        # Outliers owe their scores to statistics far from those of the images most like them.
        outlying, culprit = found["deviations"][10:], found["contributions"][10:].argmax(axis=1)
        assert (np.abs(outlying[np.arange(5), culprit]) > 3).all()
        assert np.median(np.abs(found["deviations"][:10])) < 1.5
        np.testing.assert_array_equal(found["reconstructed"], scorer.reconstruct(images))
        assert found["surprise"].shape == (15, 20, 16)
        assert found["surprise"].min() >= 0

    def test_calibration_images_are_their_own_nearest(self, bundle: Bundle) -> None:
        codes = np.stack(bundle.calibration["mean"].to_pylist())
        images = pictures(399, seed=2)  # the calibration images, which are stored in the order of their scores
        found = Scorer(bundle, provider="cpu").explain(images, neighbours=2)
        np.testing.assert_allclose(codes[found["nearest"][:, 0]], found["mean"], atol=1e-4)
        assert found["nearest_distance"][:, 0].max() < 1e-3 < found["nearest_distance"][:, 1].min()
        scores = bundle.calibration_scores[found["nearest"][:, 0]]
        np.testing.assert_allclose(scores, Scorer(bundle).score(images)["outlier_score"], rtol=1e-3)

    def test_wrong_images_are_refused(self, bundle: Bundle) -> None:
        scorer = Scorer(bundle)
        for images in (pictures(2).astype(np.float32), pictures(2)[None], pictures(2)[:0]):
            with pytest.raises(UserError, match=r"images must be uint8 \[N, 1, 20, 16\]"):
                scorer.score(images)
        with pytest.raises(UserError, match="image 0 cannot be used: the image must be 16×20 grey, got 16×19 grey"):
            scorer.score(pictures(2)[:, :, :-1])

    def test_reconstructions_resemble_the_images(self, bundle: Bundle) -> None:
        images = pictures(20, seed=5)
        error = (Scorer(bundle).reconstruct(images).astype(float) - images) ** 2
        assert error.mean() < 0.5 * images.astype(float).var()

    @pytest.mark.skipif(cuda_devices() > 0, reason="there is a CUDA device")
    def test_cuda_is_refused_where_there_is_none(self, bundle: Bundle) -> None:
        with pytest.raises(UserError, match=r"needs a CUDA device, and the machine \S+ has none"):
            Scorer(bundle, provider="cuda")
        assert Scorer(bundle).provider == "cpu"


class TestSampler:
    def test_a_sample_depends_on_its_index_and_the_seed_alone(self, bundle: Bundle) -> None:
        sampler = Sampler(bundle)
        for draw in (False, True):
            together = sampler.sample(range(200), seed=4, draw=draw)
            assert together.shape == (200, *SHAPE)
            assert np.array_equal(together[130:137], sampler.sample(range(130, 137), seed=4, draw=draw))
            assert np.array_equal(together[[5, 199, 0]], sampler.sample([5, 199, 0], seed=4, draw=draw))
            assert not np.array_equal(together[:10], sampler.sample(range(10), seed=5, draw=draw))
        assert sampler.sample([], seed=0).shape == (0, *SHAPE)

    def test_runs_joined_are_the_samples(self, bundle: Bundle) -> None:
        sampler = Sampler(bundle)
        count = 17 * sampler.batch_size + 3
        runs = list(sampler.runs(range(count), seed=1))
        assert max(map(len, runs)) == sampler.batch_size
        assert np.array_equal(np.concatenate(runs), np.concatenate([sampler.sample([i], seed=1) for i in range(count)]))

    def test_draws_scatter_about_the_mean(self, bundle: Bundle) -> None:
        sampler = Sampler(bundle)
        mean, drawn = (sampler.sample(range(100), draw=d).astype(float) for d in (False, True))
        assert np.abs(drawn - mean).max() > 5
        assert abs((drawn - mean).mean()) < 2

    def test_a_temperature_scales_the_prior(self, bundle: Bundle) -> None:
        plain = Sampler(bundle)
        for draw in (False, True):
            usual = plain.sample(range(70), seed=3, draw=draw)
            assert np.array_equal(Sampler(bundle, temperature=1.0).sample(range(70), seed=3, draw=draw), usual)
            assert not np.array_equal(Sampler(bundle, temperature=0.7).sample(range(70), seed=3, draw=draw), usual)
        # Towards zero only the components' means are left, whose pictures are as many as there are components.
        cold = Sampler(bundle, temperature=1e-6).latents(range(500))
        centres = np.unique(cold.round(3), axis=0)
        assert 1 < len(centres) <= len(bundle.prior.to_arrays()["mean"])
        spread = [np.abs(Sampler(bundle, temperature=t).latents(range(500)) - cold) for t in (0.5, 1.0)]
        np.testing.assert_allclose(2 * spread[0], spread[1], atol=1e-4)
        for wrong in (0.0, -1.0, float("nan"), float("inf")):
            with pytest.raises(UserError, match=f"temperature must be a positive number, got {wrong:g}"):
                Sampler(bundle, temperature=wrong)

    def test_invalid_seeds_and_indices_are_refused(self, bundle: Bundle) -> None:
        sampler = Sampler(bundle)
        with pytest.raises(UserError, match=r"seed must lie between 0 and .*, got -1"):
            sampler.sample([0], seed=-1)
        with pytest.raises(UserError, match="sample indices must be 0 or more, got -3"):
            sampler.sample([0, -3])
