"""The nearest codes are those of a brute-force search."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from export.runtime.neighbours import nearest


@given(st.integers(0, 2**32), st.integers(1, 40), st.integers(1, 5), st.integers(1, 5))
def test_they_are_those_of_a_sorted_list(seed: int, size: int, latents: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    reference, codes = (rng.normal(size=(n, latents)).astype(np.float32) for n in (size, 7))
    found = nearest(codes, reference, count)
    for code, rows, distances in zip(codes, found.rows, found.distances, strict=True):
        ranking = sorted((float(np.linalg.norm(code - other)), row) for row, other in enumerate(reference))[:count]
        assert rows.tolist() == [row for _, row in ranking]
        np.testing.assert_allclose(distances, [distance for distance, _ in ranking], rtol=1e-5)


def test_ties_go_by_row_and_a_constant_unit_has_no_effect() -> None:
    reference = np.repeat(np.array([[1.0, 7.0], [0.0, 7.0]], np.float32), 3, axis=0)
    assert nearest(np.array([[0.2, 7.0], [0.9, -50.0]], np.float32), reference, 3).rows.tolist() == [
        [3, 4, 5],
        [0, 1, 2],
    ]


def test_no_codes_no_neighbours() -> None:
    assert nearest(np.empty((0, 2), np.float32), np.zeros((5, 2), np.float32), 3).rows.shape == (0, 3)
