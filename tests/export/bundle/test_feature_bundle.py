"""The bundle of a model of features: every graph takes images, and it needs no other file."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from bundles import pictures
from export.bundle.format import Bundle, write_bundle
from export.bundle.weights import WEIGHTS
from export.graphs import parity
from export.graphs.build import Splits, build
from export.graphs.from_images import FromImages
from export.graphs.modules import EncoderGraph
from export.graphs.options import BuildOptions
from export.guarantees.p_values import p_values
from export.runtime.agreement import compare
from export.runtime.likelihood import LikelihoodEstimator
from export.runtime.sampler import Sampler
from export.runtime.scorer import Scorer
from export.runtime.session import Session
from export.storage import Folder
from feature_bundles import SHAPE, contents, extractor, trained, whitened, with_defects
from image_files import LAYOUTS, write_parquet
from jobs.evaluate.job import evaluate
from jobs.evaluate.options import EvaluateOptions
from jobs.report.sections.bundle import bundle_sections
from targets import check_targets
from vae_core.errors import UserError
from vae_core.estimators import importance_log_weights, log_mean_exp
from vae_core.noise import antithetic


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder = Folder.at(tmp_path_factory.mktemp("bundle"))
    write_bundle(folder, *contents())
    return Bundle.open(folder.url)


def test_every_graph_of_images_takes_them_as_they_are(bundle: Bundle) -> None:
    for name, interface in bundle.manifest["graphs"].items():
        session = Session(bundle.graph(name), provider="cpu")
        (given,) = interface["inputs"]
        assert session.input_names == (given["name"],)
        if name == "decoder.onnx":
            assert (given["name"], given["shape"]) == ("z", ["N", bundle.latent_dim])
        else:
            assert (given["name"], given["type"], given["shape"]) == ("image", "uint8", ["N", *SHAPE])
        assert tuple(value["name"] for value in interface["outputs"]) == session.output_names
    assert bundle.shape == SHAPE
    assert bundle.latent_dim == trained().noise_size


def test_it_says_that_it_is_one_of_features(bundle: Bundle) -> None:
    assert not bundle.decodes_images
    assert bundle.manifest["model"]["family"] == "features"
    assert bundle.manifest["model"]["backbone"] == "filter-bank"
    assert tuple(bundle.manifest["model"]["maps"]) == extractor().config.maps
    assert bundle.manifest["likelihood"]["kind"] == "density"


def test_parity_with_pytorch_was_held_on_hard_images(bundle: Bundle) -> None:
    checks = re.findall(r'"ok": (\w+)', bundle.read("parity.json").decode())
    assert len(checks) > 15
    assert set(checks) == {"true"}
    # Again on other images, of which the last eight are extreme.
    images = parity.probe_images(pictures(24, SHAPE, seed=9))
    features = FromImages(whitened()).inputs(images)
    graph = EncoderGraph(trained())
    found = Session(bundle.graph("encoder.onnx"), provider="cpu").run({"image": images})
    differences = compare(found, parity.expected_outputs(graph, features), graph.outputs)
    assert all(d.ok for d in differences), differences


def test_the_probe_batch_checks_any_runtime(bundle: Bundle) -> None:
    for name in bundle.manifest["graphs"]:
        path = bundle.folder.file(name)
        onnx.checker.check_model(path, full_check=True)
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        values = session.run(None, {value.name: bundle.probe[value.name] for value in session.get_inputs()})
        found = {output.name: value for output, value in zip(session.get_outputs(), values, strict=True)}
        expected = {output: bundle.probe[f"{name.removesuffix('.onnx')}.{output}"] for output in found}
        assert all(np.isfinite(value).all() for value in expected.values())
        assert all(d.ok for d in compare(found, expected, bundle.outputs(name)))


def test_scores_do_not_depend_on_the_batch(bundle: Bundle) -> None:
    images = np.concatenate([pictures(30, SHAPE, seed=5), bundle.probe["image"]])
    reference = Scorer(bundle, likelihood=True, batch_size=64, provider="cpu").score(images)
    assert "bits_per_dim" not in reference
    for size in (1, 7):
        found = Scorer(bundle, likelihood=True, batch_size=size, provider="cpu").score(images)
        assert found.keys() == reference.keys()
        for output in (*bundle.outputs("scorer.onnx"), *bundle.outputs("likelihood.onnx")):
            if output.name != "p_value":
                (difference,) = compare(found, reference, [output])
                assert difference.ok, difference
        expected = p_values(bundle.calibration_scores, found["outlier_score"]).astype(np.float32)
        np.testing.assert_array_equal(found["p_value"], expected)


def test_defects_are_outliers_and_other_images_have_uniform_p_values(bundle: Bundle) -> None:
    scorer = Scorer(bundle, provider="cpu")
    inliers = scorer.score(pictures(200, SHAPE, seed=77))
    outliers = scorer.score(with_defects(pictures(100, SHAPE, seed=78))[0])
    # Twice the standard error of the mean of so many uniform p-values is 0.04; calibration images are as few.
    assert abs(inliers["p_value"].mean() - 0.5) < 0.09
    assert (outliers["outlier_score"][:, None] > inliers["outlier_score"]).mean() > 0.95


def test_explanations_show_where_and_not_what_was_expected(bundle: Bundle) -> None:
    scorer = Scorer(bundle, batch_size=16, provider="cpu")
    images, centres = with_defects(pictures(40, SHAPE, seed=5))
    found = scorer.explain(images)
    assert "reconstructed" not in found
    assert found["surprise"].shape == (40, *SHAPE[1:])
    assert (found["surprise"] >= 0).all()
    highest = np.array([np.unravel_index(each.argmax(), each.shape) for each in found["surprise"]])
    # Its features are seen within a filter and 3×3 places of 4×4 pixels around it.
    apart = np.abs(highest - centres).max(axis=1)
    assert np.median(apart) <= 6
    assert (apart <= 12).mean() >= 0.9
    scores = scorer.score(images)["outlier_score"]
    np.testing.assert_allclose(found["contributions"].sum(axis=1), scores, rtol=1e-3)
    assert found["contributions"].shape == (40, len(bundle.statistics))
    assert found["mean"].shape == (40, bundle.latent_dim)


def test_what_needs_pictures_refuses_in_a_sentence(bundle: Bundle, tmp_path: Path) -> None:
    why = f"needs a model of pixels, but {re.escape(bundle.folder.url)} has one of features, which decodes no images"
    for kind, purpose in ((Sampler, "sampling"), (LikelihoodEstimator, r"estimating log p\(x\)")):
        with pytest.raises(UserError, match=f"^{purpose} {why}; train one of another family, such as conv$"):
            kind(bundle)
    source = write_parquet(tmp_path / "in.parquet", *LAYOUTS["packed"](pictures(30, SHAPE)))
    options: dict[str, Any] = {"images": (source,), "output": str(tmp_path / "out"), "sample_quality": 10}
    with pytest.raises(UserError, match=f"^--sample-quality {why}"):
        evaluate(EvaluateOptions(bundle=bundle.folder.url, **options))
    assert not (tmp_path / "out").exists()


def test_a_report_shows_its_training_only(bundle: Bundle) -> None:
    assert [section.title for section in bundle_sections(bundle)] == ["Training"]


def test_the_likelihood_is_the_models(bundle: Bundle) -> None:
    images = pictures(6, SHAPE, seed=3)
    found = Session(bundle.graph("likelihood.onnx"), provider="cpu").run({"image": images})
    prior = bundle.prior
    arrays = {name: torch.from_numpy(value) for name, value in prior.to_arrays().items()}
    noise = torch.from_numpy(antithetic(0, 4, trained().noise_size))
    with torch.inference_mode():
        log_weights = importance_log_weights(
            trained(),
            FromImages(whitened()).tensors(images),
            noise,
            type(prior).from_arrays(arrays, prior.latent_dim),
        )
    expected = {"elbo": log_weights.mean(1).numpy(), "log_px": log_mean_exp(log_weights).numpy()}
    outputs = [output for output in bundle.outputs("likelihood.onnx") if output.name in expected]
    differences = compare(found, expected, outputs)
    assert all(d.ok for d in differences), differences
    assert ((found["effective_samples"] >= 0.99) & (found["effective_samples"] <= 4.01)).all()


def test_the_bundle_needs_no_other_file_and_keeps_every_weight_once(bundle: Bundle) -> None:
    weights = bundle.read(WEIGHTS)
    initialisers = onnx.load_model_from_string(whitened()).graph.initializer
    arrays = [onnx.numpy_helper.to_array(tensor) for tensor in initialisers]
    arrays += [parameter.detach().numpy() for parameter in trained().parameters()]
    large = {data for array in arrays if len(data := array.tobytes()) >= 1024}
    assert len(large) >= 8  # filters, whitening and networks
    for data in large:
        assert weights.count(data) == 1
        assert not any(data in bundle.read(name) for name in bundle.manifest["graphs"])
    for name in bundle.manifest["graphs"]:
        operators = {node.domain for node in onnx.load_model_from_string(bundle.read(name)).graph.node}
        assert operators <= {"", "ai.onnx"}


def test_there_is_no_8_bit_form() -> None:
    held = Splits(validation=pictures(40, SHAPE, seed=1), calibration=pictures(40, SHAPE, seed=2))
    with pytest.raises(UserError, match="--int8 needs a model of pixels"):
        build(trained(), held, {}, BuildOptions(int8=True), whitened())


def test_it_is_written_for_every_runtime(bundle: Bundle, tmp_path: Path) -> None:
    check_targets(bundle, tmp_path)
