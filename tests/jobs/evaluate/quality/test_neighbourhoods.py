"""Precision, recall, density and coverage against two loops over all pairs."""

import numpy as np
import pytest

from jobs.evaluate.quality import neighbourhoods
from jobs.evaluate.quality.neighbourhoods import Balls, Overlap, overlap


def compare(real: np.ndarray, samples: np.ndarray) -> Overlap:
    centre = real.mean(axis=0, dtype=np.float64)
    return overlap(Balls.around(real, centre), Balls.around(samples, centre))


def by_two_loops(real: np.ndarray, samples: np.ndarray) -> Overlap:
    """The definitions, pair by pair."""

    def distance(a: np.ndarray, b: np.ndarray) -> float:
        return float(np.sqrt(((a - b) ** 2).sum()))

    def radius(vectors: np.ndarray, index: int, k: int) -> float:
        others = [distance(vectors[index], other) for j, other in enumerate(vectors) if j != index]
        return sorted(others)[k - 1]

    real_radii = {k: [radius(real, i, k) for i in range(len(real))] for k in (3, 5)}
    sample_radii = [radius(samples, j, 3) for j in range(len(samples))]
    precise = sum(any(distance(y, x) <= r for x, r in zip(real, real_radii[3], strict=True)) for y in samples)
    recalled = sum(any(distance(x, y) <= r for y, r in zip(samples, sample_radii, strict=True)) for x in real)
    pairs = [[distance(y, x) <= r for x, r in zip(real, real_radii[5], strict=True)] for y in samples]
    return Overlap(
        precise / len(samples),
        recalled / len(real),
        sum(map(sum, pairs)) / (5 * len(samples)),
        sum(any(row[i] for row in pairs) for i in range(len(real))) / len(real),
    )


@pytest.mark.parametrize(("shift", "spread"), [(0.0, 1.0), (0.6, 0.5), (0.3, 2.0), (9.0, 1.0)])
def test_they_are_the_definitions_in_any_blocks(monkeypatch: pytest.MonkeyPatch, shift: float, spread: float) -> None:
    rng = np.random.default_rng(0)
    real, samples = rng.normal(50, 1, (43, 3)), rng.normal(50 + shift, spread, (31, 3))
    expected = by_two_loops(real, samples)
    for rows, columns in ((1024, 8192), (7, 5), (5, 7), (1, 43)):
        monkeypatch.setattr(neighbourhoods, "_ROWS", rows)
        monkeypatch.setattr(neighbourhoods, "_COLUMNS", columns)
        np.testing.assert_allclose(compare(real, samples), expected, rtol=1e-12)
    if shift == 9.0:
        assert expected == (0, 0, 0, 0)


def test_a_set_beside_itself_is_precise_recalled_and_covered() -> None:
    vectors = np.random.default_rng(1).normal(1000, 3, (500, 8)).astype(np.float32)
    shuffled = vectors[np.random.default_rng(2).permutation(500)]
    # Each ball has its five neighbours and its centre.
    assert compare(vectors, shuffled) == (1.0, 1.0, pytest.approx(6 / 5), 1.0)


def test_copies_lie_in_balls_without_a_radius() -> None:
    vectors = np.repeat(np.random.default_rng(3).normal(1e3, 1, (20, 5)), 8, axis=0)
    assert compare(vectors, vectors[::-1])[:2] == (1.0, 1.0)
    assert compare(vectors, vectors + 0.01)[:2] == (0.0, 0.0)


def test_samples_of_one_mode_are_precise_but_cover_half() -> None:
    rng = np.random.default_rng(4)
    modes = rng.normal(0, 1, (2, 400, 4)) + np.array([0.0, 50.0])[:, None, None]
    found = compare(np.concatenate(modes), rng.normal(0, 1, (800, 4)))
    assert found.precision > 0.9
    assert found.recall < 0.55
    assert found.coverage == pytest.approx(0.5, abs=0.03)
