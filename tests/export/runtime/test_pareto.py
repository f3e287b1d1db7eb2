"""The fitted shape of Pareto tails."""

import numpy as np
import pytest

from export.runtime.pareto import pareto_k


@pytest.mark.parametrize("k", [0.2, 0.5, 0.9, 1.5])
def test_the_shape_of_pareto_weights_is_found(k: float) -> None:
    rng = np.random.default_rng(0)
    found = [pareto_k(np.log(rng.pareto(1 / k, 4000) + 1) - 700) for _ in range(40)]
    assert np.mean(found) == pytest.approx(k, abs=0.06)


def test_equal_weights_have_no_tail_and_few_have_no_shape() -> None:
    rng = np.random.default_rng(0)
    assert pareto_k(np.full(300, -1900.0)) == 0.0
    assert pareto_k(-1900 + 1e-4 * rng.normal(size=300)) == 0.0
    assert np.isnan(pareto_k(rng.normal(size=20)))
    assert pareto_k(rng.normal(size=300) * 5) > 0.7
    assert pareto_k(rng.normal(size=300) * 5000) > 0.7  # most weights underflow
