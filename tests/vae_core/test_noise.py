import numpy as np
import pytest

from vae_core.noise import Purpose, antithetic, philox, standard_normal, uniform


@pytest.mark.parametrize(
    ("counter", "key", "expected"),
    [  # the known answers shipped with Random123
        ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
        ((0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
        (
            (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
            (0xA4093822, 0x299F31D0),
            (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
        ),
    ],
)
def test_philox_gives_the_published_answers(counter: tuple, key: tuple, expected: tuple) -> None:  # type: ignore[type-arg]
    words = philox(tuple(np.array([c], dtype=np.int64) for c in counter), key)  # type: ignore[arg-type]
    assert tuple(int(w[0]) for w in words) == expected


def test_a_row_depends_on_its_index_alone() -> None:
    rows = np.array([5, 0, 2**40, 17])
    together = standard_normal(3, Purpose.TRAIN, rows, 7, epoch=2)
    for i, row in enumerate(rows):
        assert np.array_equal(together[i], standard_normal(3, Purpose.TRAIN, [row], 7, epoch=2)[0])


def test_seed_purpose_epoch_and_row_all_matter() -> None:
    base = standard_normal(0, Purpose.TRAIN, [0], 8)
    others = [
        standard_normal(1, Purpose.TRAIN, [0], 8),
        standard_normal(2**40, Purpose.TRAIN, [0], 8),
        standard_normal(0, Purpose.VALIDATION, [0], 8),
        standard_normal(0, Purpose.TRAIN, [0], 8, epoch=1),
        standard_normal(0, Purpose.TRAIN, [1], 8),
        standard_normal(0, Purpose.TRAIN, [2**33], 8),
    ]
    assert all(not np.array_equal(base, other) for other in others)


def test_moments_and_independence() -> None:
    x = standard_normal(0, Purpose.TRAIN, np.arange(50_000), 4).astype(np.float64)
    count = x.size
    assert abs(x.mean()) < 4 / count**0.5
    assert abs((x**2).mean() - 1) < 4 * (2 / count) ** 0.5
    assert abs((x**4).mean() - 3) < 4 * (96 / count) ** 0.5
    correlation = np.corrcoef(x.T) - np.eye(4)
    assert np.abs(correlation).max() < 4.5 / 50_000**0.5
    u = uniform(0, Purpose.TRAIN, np.arange(1000), 5)
    assert u.shape == (1000, 5)
    assert 0 < u.min() < u.max() < 1


def test_antithetic_noise_integrates_quadratics_exactly() -> None:
    e = antithetic(0, 10, 3).astype(np.float64)
    np.testing.assert_allclose(e.mean(0), 0, atol=1e-7)
    np.testing.assert_allclose((e**2).mean(0), 1, atol=1e-6)
