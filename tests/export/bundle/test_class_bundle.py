"""A bundle with classes: its graph against the formula, its p-values against their promise, and a damaged one."""

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from bundles import SHAPE, contents, pictures, trained
from export.bundle.card import render
from export.bundle.format import Bundle, write_bundle
from export.class_labels import NONE, ClassLabels
from export.graphs.classes import SplitLabels, fit_prior
from export.graphs.fit import fit_classes
from export.runtime.agreement import compare
from export.runtime.classifier import Classifier, label_margin, label_rank
from export.runtime.sampler import Sampler
from export.runtime.scorer import Scorer
from export.runtime.session import Session
from export.storage import Folder
from labelled import LABELS, classes_of
from targets import check_targets
from vae_core.errors import UserError
from vae_core.latents import ClassMixture
from vae_core.noise import antithetic


@pytest.fixture(scope="module")
def labelled(labelled_bundle: Path) -> Bundle:
    return Bundle.open(str(labelled_bundle))


def test_the_graph_computes_bayes_rule_over_the_draws_of_one_encode(labelled: Bundle) -> None:
    images, model, prior = pictures(9, seed=21), trained(), labelled.prior
    assert isinstance(prior, ClassMixture)
    described = labelled.manifest["classes"]
    noise = antithetic(0, described["samples"], model.noise_size)
    batch = {"image": torch.from_numpy(images)}
    with torch.inference_mode():
        posterior = model.posterior(batch)
        terms = []
        for epsilon in torch.from_numpy(noise):
            z = posterior.draw(epsilon.expand(9, -1))
            log_ratio = model.log_px_z(batch, z) - posterior.log_prob(z)
            terms.append(log_ratio.double().numpy()[:, None] + prior.log_joint_of_classes(z.double().numpy()))
    log_joint = np.logaddexp.reduce(terms) - np.log(len(noise))
    found = Classifier(labelled, provider="cpu", batch_size=4).classify(images)
    np.testing.assert_allclose(found["log_px_class"], log_joint - prior.log_class, atol=0.1)
    tempered = log_joint / described["temperature"]
    expected = tempered - np.logaddexp.reduce(tempered, axis=1)[:, None]
    np.testing.assert_allclose(found["log_class_probability"], expected, atol=0.1)


def test_classes_are_told_apart_and_right_labels_have_fair_p_values(labelled: Bundle) -> None:
    images = pictures(600, seed=22)
    labels, classifier = classes_of(images), Classifier(labelled, provider="cpu")
    log_probability = classifier.classify(images)["log_class_probability"]
    assert (log_probability.argmax(1) == labels).mean() > 0.8
    assert labelled.manifest["classes"]["accuracy"] > 0.8
    p = classifier.class_p_values(log_probability, labels)
    inside = classifier.label_sets(log_probability, 0.2)
    np.testing.assert_array_equal(inside[np.arange(600), labels], p > 0.2)
    sizes = [each.size for each in labelled.label_references.own.values()]
    for index in range(3):
        rows = labels == index
        assert (p[rows] <= 0.2).mean() < 0.2 + 4 * (0.16 / rows.sum() + 0.16 / min(sizes)) ** 0.5
    wrong = (labels + 1) % 3
    among_all = classifier.p_values(log_probability, labels)
    assert (among_all <= 0.2).mean() < 0.2 + 4 * (0.16 / 600 + 0.16 / 399) ** 0.5
    for p_values in (classifier.p_values, classifier.class_p_values):
        assert np.median(p_values(log_probability, wrong)) < 0.02
        assert np.isnan(p_values(log_probability, np.full(600, NONE))).all()


def test_rank_and_margin_of_a_given_label() -> None:
    log_probability = np.log(np.array([[0.7, 0.2, 0.1], [0.2, 0.3, 0.5], [0.4, 0.3, 0.3]], np.float32))
    labels = np.array([0, 1, NONE])
    assert label_rank(log_probability, labels).tolist() == [1, 2, 0]
    margin = label_margin(log_probability, labels)
    np.testing.assert_allclose(margin[:2], np.log([0.7 / 0.2, 0.3 / 0.5]), rtol=1e-5)
    assert np.isnan(margin[2])


def test_outlier_scores_are_those_of_a_bundle_without_classes(labelled: Bundle, bundle: Path) -> None:
    images = pictures(50, seed=23)
    with_classes, without = (
        Scorer(each, provider="cpu").score(images) for each in (labelled, Bundle.open(str(bundle)))
    )
    # The code's mixture is fitted to training images as well, which the other bundle lacks.
    for name in ("reconstruction", "kl", "log_error"):
        np.testing.assert_allclose(with_classes[name], without[name], rtol=1e-5)


def test_samples_of_a_class_are_of_that_class(labelled: Bundle) -> None:
    for index, name in enumerate(LABELS.titles):
        sampler = Sampler(labelled, provider="cpu", label=name)
        images = sampler.sample(range(200), seed=1)
        assert (classes_of(images) == index).mean() > 0.7
        labels = sampler.labels(range(200))
        assert labels is not None
        assert set(labels.tolist()) == {index}
    drawn = Sampler(labelled, provider="cpu")
    labels = drawn.labels(range(200), seed=3)
    assert labels is not None
    assert (classes_of(drawn.sample(range(200), seed=3)) == labels).mean() > 0.7


def test_a_bundle_without_classes_says_so(bundle: Path) -> None:
    with pytest.raises(UserError, match="classification needs a bundle with classes"):
        Classifier(str(bundle))
    with pytest.raises(UserError, match="--label needs a bundle with classes"):
        Sampler(str(bundle), label="left")


def test_a_damaged_description_of_classes_is_refused(labelled_bundle: Path, tmp_path: Path) -> None:
    for name in (path.name for path in labelled_bundle.iterdir()):
        (tmp_path / name).write_bytes((labelled_bundle / name).read_bytes())
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    numbers = [manifest["classes"] | {name: "many"} for name in ("samples", "temperature", "accuracy")]
    for classes in (None, [], {"column": "side"}, manifest["classes"] | {"values": [1, 1]}, *numbers):
        (tmp_path / "manifest.json").write_text(json.dumps(manifest | {"classes": classes}))
        with pytest.raises(UserError, match="classes must be"):
            Bundle.open(str(tmp_path))


def test_classes_without_training_images_are_left_out() -> None:
    labels = ClassLabels("kind", ("a", "b", "c"))
    split = SplitLabels(labels, np.array([0, 1, 2]), np.array([2, 1]), np.array([0, 2, 2, NONE]))
    prior, kept, left_out = fit_prior(np.random.default_rng(0).normal(size=(4, 2)).astype(np.float32), split)
    assert prior.classes == 2
    assert left_out.values == ("b",)
    assert kept.labels.values == ("a", "c")
    assert kept.validation.tolist() == [0, NONE, 1]
    assert kept.calibration.tolist() == [1, NONE]
    with pytest.raises(UserError, match="classes need labelled training images of two at least"):
        fit_prior(np.zeros((4, 2), np.float32), SplitLabels(labels, split.validation, split.calibration, np.full(4, 1)))


def test_fitted_classes_are_the_mixtures_that_codes_were_drawn_from() -> None:
    rng = np.random.default_rng(1)
    labels = rng.choice(3, 4000, p=[0.6, 0.395, 0.005])
    centres = np.array([[0.0, 0.0], [4.0, 0.0], [0.0, 6.0]])
    draws = (centres[labels] + rng.normal(size=(4000, 2)) * [1.0, 0.5]).astype(np.float32)
    prior = fit_classes(draws, labels.astype(np.int64), 3)
    np.testing.assert_allclose(np.exp(prior.log_class), np.bincount(labels) / 4000, rtol=1e-5)
    fresh = centres[:, None] + rng.normal(size=(3, 2000, 2)) * [1.0, 0.5]
    for index, centre in enumerate(centres):
        exact = -0.5 * (((fresh[index] - centre) / [1.0, 0.5]) ** 2).sum(1) - np.log(2 * np.pi * 0.5)
        # twenty images of the third class: mean and covariance are their own only in part
        close = 0.02 if index < 2 else 0.3
        assert exact.mean() - prior.of_class(index).log_prob(fresh[index]).mean() < close


def test_the_bundle_is_written_again_with_its_classes(labelled: Bundle, tmp_path: Path) -> None:
    manifest = {name: value for name, value in labelled.manifest.items() if name not in ("files", "format")}
    files = {name: labelled.read(name) for name in labelled.manifest["files"]}
    assert write_bundle(Folder.at(tmp_path / "copy"), manifest, files).class_labels == LABELS
    assert labelled.shape == SHAPE
    assert "classes" not in contents().manifest


def test_the_card_names_the_classes_without_markup(labelled: Bundle) -> None:
    text = labelled.read("README.md").decode()
    assert "- 3: left, middle, right" in text
    assert f"accuracy {labelled.manifest['classes']['accuracy']:.4f} by Bayes' rule with 8 draws of z" in text
    evil = labelled.manifest["classes"] | {"names": ["<script>", "a\n# b", "c"]}
    checks = json.loads(labelled.read("parity.json"))["graphs"]
    card = render({**labelled.manifest, "classes": evil}, checks)
    assert "- 3: &lt;script&gt;, a # b, c" in card


def test_the_graph_keeps_to_what_every_runtime_computes(labelled: Bundle) -> None:
    graph = onnx.load_model_from_string(labelled.read("classes.onnx")).graph
    operators = {node.op_type for node in graph.node}
    assert not operators & {"ReduceLogSumExp", "ReduceLogSum", "LogSoftmax", "Softplus", "Bernoulli"}
    assert not any("Random" in operator for operator in operators)
    assert all(constant.data_type != onnx.TensorProto.DOUBLE for constant in graph.initializer)
    for value in (*graph.input, *graph.output):
        first, *rest = value.type.tensor_type.shape.dim
        assert first.dim_param
        assert all(each.dim_value for each in rest)


def test_the_probe_batch_has_what_the_graph_computes(labelled: Bundle) -> None:
    session = Session(labelled.graph("classes.onnx"), provider="cpu")
    outputs = labelled.outputs("classes.onnx")
    expected = {each.name: labelled.probe[f"classes.{each.name}"] for each in outputs}
    assert all(difference.ok for difference in compare(session.run(labelled.probe), expected, outputs))


def test_objects_say_what_they_are(labelled: Bundle) -> None:
    assert "conv, images 1×20×16, hash " in repr(labelled)
    for each in (Scorer(labelled), Sampler(labelled), Classifier(labelled)):
        assert repr(each) == f"<{type(each).__name__} of {labelled!r}>"


def test_a_class_depends_on_its_image_alone(labelled: Bundle) -> None:
    images = pictures(17, seed=24)
    together = Classifier(labelled, provider="cpu").classify(images)
    alone = [Classifier(labelled, provider="cpu", batch_size=size).classify(images[::-1]) for size in (1, 5)]
    for name, values in together.items():
        for each in alone:
            np.testing.assert_allclose(each[name][::-1], values, rtol=1e-5, atol=1e-3)


def test_it_is_written_for_every_runtime(labelled: Bundle, tmp_path: Path) -> None:
    check_targets(labelled, tmp_path)
