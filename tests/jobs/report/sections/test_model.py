"""Model sections of a model simple enough to predict their content."""

import math
from itertools import pairwise

import numpy as np
import pytest

from jobs.report.blocks import Charts, Matrix, Wall
from jobs.report.sections.bundle import distant_pairs
from jobs.report.sections.model import (
    active_units,
    interpolation_section,
    reconstruction_section,
    sample_section,
    slerp,
    training_section,
    traversal_section,
)
from vae_core.latents import GaussianMixture, StandardNormal

RANDOM = np.random.default_rng(0)
SHAPE = (1, 8, 8)


def encode(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and spread of the pixels, and an unused third unit."""
    flat = images.reshape(len(images), -1).astype(np.float32) / 255
    mean = np.stack([flat.mean(1) * 4 - 2, flat.std(1) * 4, np.zeros(len(images))], axis=1)
    return mean.astype(np.float32), np.full_like(mean, -2, dtype=np.float32)


def decode(z: np.ndarray) -> np.ndarray:
    levels = np.clip((z[:, 0] + 2) / 4 * 255, 0, 255).astype(np.uint8)
    return np.broadcast_to(levels[:, None, None, None], (len(z), *SHAPE)).copy()


IMAGES = (RANDOM.uniform(0, 1, (12, 1, 1, 1)) * RANDOM.uniform(0, 256, (12, *SHAPE))).astype(np.uint8)


def test_slerp_keeps_its_ends_and_their_norm() -> None:
    a, b = RANDOM.normal(size=(2, 16)).astype(np.float32)
    a, b = a / np.linalg.norm(a) * 4, b / np.linalg.norm(b) * 4
    path = slerp(a, b, 9)
    assert np.allclose(path[0], a, atol=1e-5)
    assert np.allclose(path[-1], b, atol=1e-5)
    assert np.allclose(np.linalg.norm(path, axis=1), 4, atol=1e-4)
    angles = [math.acos(np.clip(p @ q / 16, -1, 1)) for p, q in pairwise(path)]
    assert np.ptp(angles) < 1e-3  # equal steps


@pytest.mark.parametrize("factor", [1.0, 2.0, -1.0, 0.0])
def test_slerp_of_collinear_codes_is_linear(factor: float) -> None:
    a = np.ones(4, dtype=np.float32)
    path = slerp(a, factor * a, 5)
    assert np.allclose(path, np.linspace(1, factor, 5)[:, None] * a, atol=1e-6)


def test_unused_units_rank_last() -> None:
    mean, _ = encode(IMAGES)
    ranking = active_units(mean)
    assert ranking[-1] == (2, 0.0)
    assert ranking[0][1] == pytest.approx(mean.var(axis=0).max())


def test_draws_differ_but_are_deterministic() -> None:
    section = reconstruction_section(IMAGES[:5], encode, decode)
    matrix = section.blocks[0]
    assert isinstance(matrix, Matrix)
    assert [len(row.pictures) for row in matrix.rows] == [5] * 6
    draws = [[each.source for each in row.pictures] for row in matrix.rows[2:5]]
    assert draws[0] != draws[1] != draws[2]
    assert section == reconstruction_section(IMAGES[:5], encode, decode)


def test_samples_come_from_the_prior_alone() -> None:
    (wall,) = sample_section(decode, StandardNormal(3), count=20).blocks
    assert isinstance(wall, Wall)
    assert len(wall.pictures) == 20
    assert len({each.source for each in wall.pictures}) > 5


def test_samples_of_a_learned_prior_are_compared_with_the_standard_normal() -> None:
    factor = 1e-3 * np.eye(3, dtype=np.float32)[None]
    narrow = GaussianMixture(
        np.zeros(1, np.float32), np.ones((1, 3), np.float32), factor, 1e6 * factor, np.empty(0, np.float32)
    )
    learned, normal = sample_section(decode, narrow, count=20).blocks
    assert isinstance(learned, Wall)
    assert isinstance(normal, Wall)
    assert learned.title != normal.title
    assert len({each.source for each in learned.pictures}) < len({each.source for each in normal.pictures})


def test_interpolations_run_between_originals() -> None:
    (matrix,) = interpolation_section(IMAGES[:3], IMAGES[3:6], encode, decode).blocks
    assert isinstance(matrix, Matrix)
    assert [len(row.pictures) for row in matrix.rows] == [12] * 3
    assert len(matrix.columns) == 12


def test_traversals_show_used_units_only_and_frame_the_image() -> None:
    (matrix,) = traversal_section(IMAGES[0], IMAGES, encode, decode).blocks
    assert isinstance(matrix, Matrix)
    assert len(matrix.rows) == 2  # of three units
    assert all(sum(each.marked for each in row.pictures) == 1 for row in matrix.rows)
    assert matrix.columns[0] == "−3 σ"
    assert matrix.columns[5] == "0 σ"
    assert matrix.columns[-1] == "3 σ"


def test_pairs_are_disjoint_and_distant() -> None:
    codes = RANDOM.normal(size=(9, 4)).astype(np.float32)
    pairs = distant_pairs(codes, 3)
    assert len({row for pair in pairs for row in pair}) == 6
    start, end = pairs[0]
    cosine = codes @ codes[start] / np.linalg.norm(codes, axis=1)
    assert end == int(np.argmin(cosine))
    assert distant_pairs(codes[:1], 3) == []


def test_curves_are_drawn_for_recorded_metrics() -> None:
    history = [{"epoch": e, "elbo": -100.0 + e, "kl": 3.0 * e, "bits_per_dim": None} for e in range(1, 5)]
    section = training_section(history)
    assert section is not None
    (charts,) = section.blocks
    assert isinstance(charts, Charts)
    assert [chart.title for chart in charts.items] == ["Bound on log p(x), nats", "KL from the prior, nats"]
    assert training_section([]) is None
    assert training_section([{"epoch": 1}]) is None
