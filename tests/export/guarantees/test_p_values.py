import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from export.guarantees.attach import attach
from export.guarantees.p_values import p_values, ranks, threshold
from export.runtime.session import Session
from vae_core.errors import UserError


def identity_scorer() -> bytes:
    """A graph whose outlier_score is its input."""
    graph = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["outlier_score"])],
        "scorer",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N"])],
        [helper.make_tensor_value_info("outlier_score", TensorProto.FLOAT, ["N"])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    data: bytes = model.SerializeToString()
    return data


scores = st.lists(st.floats(-3, 3, width=16), min_size=1, max_size=60)


@settings(max_examples=60, deadline=None)
@given(calibration=scores, tested=scores)
def test_the_graph_counts_exactly(calibration: list[float], tested: list[float]) -> None:
    # 16-bit floats: ties between calibration and test scores are common.
    ordered = np.sort(np.array(calibration, dtype=np.float32))
    batch = np.array([*tested, -1e30, 1e30], dtype=np.float32)
    brute = (1 + (ordered[None, :] >= batch[:, None]).sum(1)) / (len(ordered) + 1)
    np.testing.assert_allclose(p_values(ordered, batch), brute, rtol=1e-12)
    found = Session(attach(identity_scorer(), calibration), provider="cpu").run({"x": batch})["p_value"]
    np.testing.assert_array_equal(found, brute.astype(np.float32))
    np.testing.assert_array_equal(ranks(found, len(ordered)), np.rint(brute * (len(ordered) + 1)))


def test_another_calibration_takes_the_place_of_the_first() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=6000).astype(np.float32), rng.normal(1, 2, size=77).astype(np.float32)
    batch = rng.normal(size=50).astype(np.float32)
    exchanged = attach(attach(identity_scorer(), first), second)
    assert exchanged == attach(identity_scorer(), second)
    found = Session(exchanged, provider="cpu").run({"x": batch})["p_value"]
    np.testing.assert_array_equal(found, p_values(np.sort(second), batch).astype(np.float32))
    onnx.checker.check_model(onnx.load_model_from_string(exchanged))


def test_p_values_keep_the_conformal_guarantee() -> None:
    # P(p ≤ α) ≤ α for exchangeable scores: over redrawn calibration sets, within the error of the mean.
    rng = np.random.default_rng(0)
    level, flagged = 0.1, []
    for _ in range(2000):
        calibration = np.sort(rng.normal(size=39).astype(np.float32))
        flagged.append((p_values(calibration, rng.normal(size=20).astype(np.float32)) <= level).mean())
    error = np.std(flagged) / len(flagged) ** 0.5
    assert abs(np.mean(flagged) - level) < 3 * error  # 0.1 · 40 is whole: the guarantee is then an equality


@settings(max_examples=60, deadline=None)
@given(calibration=scores, level=st.floats(0.02, 0.99))
def test_the_threshold_flags_what_the_p_value_flags(calibration: list[float], level: float) -> None:
    ordered = np.sort(np.array(calibration, dtype=np.float32))
    batch = np.concatenate([ordered, ordered + 0.25, ordered - 0.25])
    if level * (len(ordered) + 1) < 1 - 1e-9:
        with pytest.raises(UserError, match="calibration images"):
            threshold(ordered, level)
    else:
        flagged = batch > np.float32(threshold(ordered, level))
        np.testing.assert_array_equal(flagged, p_values(ordered, batch) <= level * (1 + 1e-12))


@pytest.mark.parametrize("level", [0.0, -1.0, 1.0, 0.001])
def test_impossible_levels_are_refused(level: float) -> None:
    with pytest.raises(UserError, match=r"--fpr must be at least 0\.1 with 9 calibration images, and below 1"):
        threshold(np.arange(9, dtype=np.float32), level)
