"""Sums: equal to float64's, for torch and numpy, and made of operators that every runtime has."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vae_core.sums import diagonal, log_sum_exp, squared_norm, sum_pixels

EITHER = pytest.mark.parametrize("kind", [np.asarray, torch.from_numpy], ids=["numpy", "torch"])


@EITHER
@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 64, 64), (3, 256, 256)])
def test_large_images_are_summed_within_tolerance_in_float32(kind, shape: tuple[int, int, int]) -> None:
    # Negative log-probabilities have one sign; a graph's tolerance for their sum is 1e-5.
    nats = np.random.default_rng(0).gamma(2.0, 2.0, size=(4, *shape)).astype(np.float32)
    found = np.asarray(sum_pixels(kind(nats)))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, nats.astype(np.float64).sum((1, 2, 3)), rtol=1e-6)


@given(st.lists(st.floats(-1e4, 1e4), min_size=1, max_size=8))
def test_log_sum_exp_is_that_of_float64(values: list[float]) -> None:
    expected = torch.logsumexp(torch.tensor(values, dtype=torch.float64), 0).item()
    for kind in (np.asarray, torch.from_numpy):
        rows = kind(np.array([values, values], dtype=np.float32))
        np.testing.assert_allclose(np.asarray(log_sum_exp(rows)), expected, rtol=1e-6, atol=1e-6)


@EITHER
def test_squared_norm(kind) -> None:
    values = np.random.default_rng(0).normal(size=(3, 5, 7))
    np.testing.assert_allclose(np.asarray(squared_norm(kind(values))), (values**2).sum(-1), rtol=1e-12)


@EITHER
def test_diagonal(kind) -> None:
    values = np.random.default_rng(0).normal(size=(3, 5, 5))
    np.testing.assert_array_equal(np.asarray(diagonal(kind(values))), values.diagonal(0, -2, -1))


def test_a_runtime_that_adds_one_value_after_another_sums_large_images_within_tolerance() -> None:
    # numpy and torch add pairwise, which not every runtime does.
    nats = np.random.default_rng(0).gamma(2.0, 2.0, size=(3, 256, 256)).astype(np.float32)
    rows = np.cumsum(nats, axis=-1, dtype=np.float32)[..., -1]
    total = np.cumsum(rows.ravel(), dtype=np.float32)[-1]
    np.testing.assert_allclose(total, nats.astype(np.float64).sum(), rtol=5e-6)
