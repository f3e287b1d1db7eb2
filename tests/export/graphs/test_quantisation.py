"""8-bit scorers: integers in the inner layers, scores that rank as in fp32, and their own p-values."""

from collections import Counter

import numpy as np
import onnx
import pytest

from bundles import SHAPE, contents, pictures
from export.bundle.format import DECODER, ENCODER, EXPLAINER, LIKELIHOOD, SCORER, Bundle, write_bundle
from export.graphs.options import BuildOptions
from export.graphs.quantisation import _rank_correlation, check_agreement
from export.runtime.scorer import Scorer
from export.storage import Folder
from vae_core.errors import UserError


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> tuple[Bundle, Bundle]:
    """The same model in fp32 and in 8-bit integers."""
    folder = Folder.at(tmp_path_factory.mktemp("bundles"))
    exact = write_bundle(folder.child("fp32"), *contents())
    return exact, write_bundle(folder.child("int8"), *contents(options=BuildOptions(samples=8, int8=True)))


def layers(bundle: Bundle, name: str) -> Counter[str]:
    """How many nodes of each operator take a quantised weight."""
    graph = onnx.load_model_from_string(bundle.read(name)).graph
    weights = {node.output[0] for node in graph.node if node.op_type == "DequantizeLinear"}
    return Counter(node.op_type for node in graph.node if len(node.input) > 1 and node.input[1] in weights)


def test_inner_layers_are_integers_and_the_rest_is_not(bundles: tuple[Bundle, Bundle]) -> None:
    exact, quantised = bundles
    # Of two convolutions and two linear layers a side, the first and the last of each stay.
    assert layers(quantised, SCORER) == {"Conv": 2, "Gemm": 2}
    assert layers(quantised, EXPLAINER) == {"Conv": 2, "Gemm": 2}
    for name in (ENCODER, DECODER, LIKELIHOOD):
        same, found = exact.graph(name).weights, quantised.graph(name).weights
        assert same.keys() == found.keys()
        assert all(np.array_equal(value, found[each]) for each, value in same.items())


def test_scores_rank_as_in_fp32(bundles: tuple[Bundle, Bundle]) -> None:
    images = pictures(300, seed=7)
    exact, quantised = (Scorer(bundle, provider="cpu").score(images) for bundle in bundles)
    assert set(exact) == set(quantised)
    assert not np.array_equal(exact["reconstruction"], quantised["reconstruction"])
    # The densities are refitted, here to a few hundred images, and agree less than the statistics.
    for name, least in {"reconstruction": 0.98, "kl": 0.98, "log_error": 0.98, "outlier_score": 0.5}.items():
        assert _rank_correlation(exact[name], quantised[name]) > least, name
    noise = np.random.default_rng(0).integers(0, 256, (50, *SHAPE), dtype=np.uint8)
    assert Scorer(bundles[1], provider="cpu").score(noise)["outlier_score"].min() > quantised["outlier_score"].max()


def test_p_values_are_of_its_own_calibration(bundles: tuple[Bundle, Bundle]) -> None:
    exact, quantised = bundles
    assert not np.array_equal(exact.calibration_scores, quantised.calibration_scores)
    p = Scorer(quantised, provider="cpu").score(pictures(399, seed=2))["p_value"]
    # The calibration images themselves: every rank once.
    np.testing.assert_allclose(np.sort(p), np.arange(2, 401) / 400, rtol=1e-6)


def test_a_score_does_not_depend_on_its_batch(bundles: tuple[Bundle, Bundle]) -> None:
    images = pictures(37, seed=8)
    whole = Scorer(bundles[1], provider="cpu").score(images)["outlier_score"]
    single = Scorer(bundles[1], provider="cpu", batch_size=1).score(images)["outlier_score"]
    np.testing.assert_allclose(single, whole, rtol=1e-5, atol=1e-5)


def test_explanations_add_up_to_the_score(bundles: tuple[Bundle, Bundle]) -> None:
    images = pictures(20, seed=9)
    scorer = Scorer(bundles[1], provider="cpu")
    total = scorer.explain(images)["contributions"].sum(1)
    np.testing.assert_allclose(total, scorer.score(images)["outlier_score"], rtol=1e-3, atol=1e-3)


def test_the_manifest_records_the_quantisation(bundles: tuple[Bundle, Bundle]) -> None:
    exact, quantised = bundles
    assert "int8" not in exact.manifest
    recorded = quantised.manifest["int8"]
    assert recorded["graphs"] == [SCORER, EXPLAINER]
    assert recorded["least_rank_correlation"] > 0.9
    assert "8-bit integers" in quantised.read("README.md").decode()


def test_a_network_that_ranks_images_differently_is_refused() -> None:
    random = np.random.default_rng(0)
    a, b = random.normal(size=(2, 200))
    assert check_agreement({"kl": a}, {"kl": a}, ["kl"])["least_rank_correlation"] == 1.0
    with pytest.raises(UserError, match=r"rank correlation of at least 0\.9, but kl has"):
        check_agreement({"kl": a, "black": a}, {"kl": b, "black": a}, ["kl", "black"])


def test_rank_correlation() -> None:
    assert _rank_correlation(np.array([1, 2, 3]), np.array([1, 20, 300])) == pytest.approx(1.0)
    assert _rank_correlation(np.array([1, 2, 3]), np.array([3, 2, 1])) == pytest.approx(-1.0)
    # By hand: ranks 1.5, 1.5, 3 against 1, 2, 3.
    assert _rank_correlation(np.array([5, 5, 9]), np.array([1, 2, 3])) == pytest.approx(0.75**0.5)
    assert _rank_correlation(np.zeros(3), np.array([1, 2, 3])) == 1.0
