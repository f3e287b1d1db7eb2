import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from export.guarantees.envelope import fit_envelope
from export.guarantees.p_values import p_values, threshold
from export.guarantees.reference import reference

scores = st.lists(st.floats(-3, 3, width=16), min_size=1, max_size=60)


@settings(max_examples=60, deadline=None)
@given(calibration=scores, tested=scores, level=st.floats(0.02, 0.98), conditional=st.booleans())
def test_ranks_p_values_and_thresholds_agree(
    calibration: list[float], tested: list[float], level: float, conditional: bool
) -> None:
    ordered = np.sort(np.array(calibration, dtype=np.float32))
    batch = np.array([*tested, *calibration], dtype=np.float32)
    found = reference(ordered, fit_envelope(len(ordered), 0.9) if conditional else None)
    ranks = found.ranks(batch)
    np.testing.assert_array_equal(ranks, np.rint(p_values(ordered, batch) * (len(ordered) + 1)))
    p = found.values[ranks]
    flagged = p <= level * (1 + 1e-12)
    np.testing.assert_array_equal(ranks <= found.last_rank(level), flagged)
    np.testing.assert_array_equal(batch > np.float32(found.threshold(level)), flagged)
    if not conditional:
        np.testing.assert_allclose(p, p_values(ordered, batch), rtol=1e-15)
    elif len(ordered) > 1:
        assert (p >= p_values(ordered, batch)).all()


def test_the_threshold_is_that_of_the_scorer() -> None:
    ordered = np.sort(np.random.default_rng(0).normal(size=399)).astype(np.float32)
    for level in (0.0025, 0.01, 0.05, 0.5):
        assert reference(ordered).threshold(level) == threshold(ordered, level)
    assert reference(ordered).threshold(0.002) == float("inf")
    assert reference(ordered).smallest == pytest.approx(1 / 400)
