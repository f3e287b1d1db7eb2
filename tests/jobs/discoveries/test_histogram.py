"""Histograms are additive, and the threshold is one of their edges."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from jobs.discoveries.histogram import Histogram, score_edges


@given(st.lists(st.floats(-10, 10, width=32)), st.lists(st.floats(-10, 10, width=32)))
def test_merged_histograms_equal_that_of_all_values(a: list[float], b: list[float]) -> None:
    empty = Histogram.empty(np.linspace(-5, 5, 11))
    first, second = np.array(a, dtype=np.float32), np.array(b, dtype=np.float32)
    together = empty.add(np.concatenate([first, second]))
    apart = empty.add(first).merge(empty.add(second))
    assert np.array_equal(together.counts, apart.counts)
    assert (together.below, together.above) == (apart.below, apart.above)
    assert together.total == len(a) + len(b)


def test_bins_are_closed_on_the_right_and_nan_is_skipped() -> None:
    found = Histogram.empty(np.array([0.0, 1.0, 2.0])).add(np.array([1, 1, np.nan, np.inf, 2.5, 0], np.float32))
    assert (found.counts.tolist(), found.below, found.above) == ([2, 0], 1, 1)


@given(st.lists(st.floats(-1e3, 1e3, width=32), min_size=1), st.integers(0))
def test_the_threshold_is_an_edge(calibration: list[float], at: int) -> None:
    scores = np.sort(np.array(calibration, np.float32))
    limit = float(scores[at % len(scores)])
    edges = score_edges(scores, limit)
    assert limit in edges
    assert (np.diff(edges) > 0).all()
