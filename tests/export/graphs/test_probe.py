"""The probe batch: no calibration image, and away from the steps of the p-value; its tolerances are those that hold."""

import numpy as np
import numpy.typing as npt
import onnx
import pytest

from bundles import contents, pictures
from export.bundle.format import GRADIENT, SCORER, Bundle, write_bundle
from export.graphs.options import BuildOptions
from export.guarantees.p_values import P_VALUE, SCORE, p_values, steps_within, tolerance
from export.storage import Folder
from vae_core.outputs import Output


@pytest.fixture(scope="module")
def opened(bundle: str) -> Bundle:
    return Bundle.open(str(bundle))


def rows(images: npt.NDArray[np.uint8]) -> set[bytes]:
    return {image.tobytes() for image in images}


def test_probe_images_are_validation_images_and_no_calibration_images(opened: Bundle) -> None:
    # The splits of `bundles.contents`.
    assert len(rows(opened.examples)) == 32
    assert rows(opened.examples) <= rows(pictures(400, seed=1))
    assert not rows(opened.probe["image"]) & rows(pictures(399, seed=2))


def test_no_probe_image_lies_on_a_step_of_the_p_value(opened: Bundle) -> None:
    score, p_value = opened.output(SCORER, SCORE), opened.output(SCORER, P_VALUE)
    scores = opened.probe["scorer.outlier_score"]
    assert not steps_within(opened.calibration_scores, scores, score).any()
    assert p_value.tolerance == pytest.approx(0.5 / 400)
    # So the p-value is the same for every score that the tolerance allows.
    for sign in (-1, 1):
        moved = scores + sign * score.tolerance * np.maximum(score.scale, np.abs(scores))
        expected = opened.probe["scorer.p_value"]
        np.testing.assert_allclose(p_values(opened.calibration_scores, moved), expected, rtol=1e-6)


def test_the_tolerance_of_a_p_value_is_the_steps_that_a_score_may_pass() -> None:
    calibration = np.array([1.0, 2.0, 2.00001, 2.00002, 3.0], np.float32)
    score = Output("outlier_score", "", "", tolerance=1e-4)
    at = np.array([2.0001, 2.5], np.float32)
    np.testing.assert_array_equal(steps_within(calibration, at, score), [3, 0])
    assert tolerance(calibration, at, score) == pytest.approx(3.5 / 6)
    assert tolerance(calibration, at[1:], score) == pytest.approx(0.5 / 6)


def test_outputs_of_8_bit_graphs_may_differ_by_what_the_integers_change(tmp_path: str) -> None:
    exact = write_bundle(Folder.at(f"{tmp_path}/fp32"), *contents())
    integers = write_bundle(Folder.at(f"{tmp_path}/int8"), *contents(options=BuildOptions(samples=8, int8=True)))
    for name, outputs in integers.manifest["graphs"].items():
        before = {each["name"]: each["tolerance"] for each in exact.manifest["graphs"][name]["outputs"]}
        after = {each["name"]: each["tolerance"] for each in outputs["outputs"]}
        if name in integers.manifest["int8"]["graphs"]:
            assert all(after[each] >= before[each] for each in before)
            assert 1e-4 < after.get("kl", 1e-3) < 0.1
        else:
            assert after == before


def test_a_gradient_has_no_constant_that_it_does_not_use(opened: Bundle) -> None:
    graph = onnx.load_model_from_string(opened.read(GRADIENT)).graph
    used = {name for node in graph.node for name in node.input}
    assert {each.name for each in graph.initializer} <= used
