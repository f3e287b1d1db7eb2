"""Whitening: the smoothed standardised maps have identity covariance, whatever the units of the channels."""

import numpy as np
import pytest
import torch
from scipy.ndimage import uniform_filter

from vae_core.features.whitening import Whitening, fit_whitening


def maps_of(seed: int = 0, count: int = 150, channels: int = 6) -> np.ndarray:
    """Correlated maps [150, 6, 7, 5] of very different units, smooth over places."""
    rng = np.random.default_rng(seed)
    independent = uniform_filter(rng.normal(size=(count, channels, 7, 5)), size=(1, 1, 2, 2))
    mixing = np.linalg.qr(rng.normal(size=(channels, channels)))[0] * np.geomspace(3, 0.5, channels)
    units, levels = np.geomspace(0.1, 100, channels)[:, None, None], rng.normal(0, 50, channels)[:, None, None]
    return (units * np.einsum("fc,nchw->nfhw", mixing, independent) + levels).astype(np.float32)


def smooth(maps: np.ndarray) -> np.ndarray:
    """The smoothed standardised maps in float64."""
    return fit_whitening(maps).double().smooth(torch.from_numpy(maps).double()).numpy()  # type: ignore[no-any-return]


def covariance(features: np.ndarray) -> np.ndarray:
    """The second moments of the channels about zero, over images and places."""
    flat = features.astype(np.float64).transpose(1, 0, 2, 3).reshape(features.shape[1], -1)
    return flat @ flat.T / flat.shape[1]


def whitened(whitening: Whitening, maps: np.ndarray) -> np.ndarray:
    values: np.ndarray = whitening(torch.from_numpy(maps)).numpy()
    return values


def standardised(maps: np.ndarray) -> np.ndarray:
    """The maps with mean 0 and standard deviation 1, by the definition in float64."""
    wide = maps.astype(np.float64)
    result: np.ndarray = (wide - wide.mean(axis=(0, 2, 3), keepdims=True)) / (
        wide.std(axis=(0, 2, 3), keepdims=True) + 1e-3
    )
    return result


def test_standardised_maps_are_smoothed_over_the_places_that_there_are() -> None:
    maps = maps_of()
    padded, inside = (
        uniform_filter(each, size=(1, 1, 3, 3), mode="constant") for each in (standardised(maps), np.ones(maps.shape))
    )
    np.testing.assert_allclose(smooth(maps), padded / inside, rtol=0, atol=1e-4)


def test_the_appearance_is_the_mean_and_log_spread_of_each_channel() -> None:
    maps, standard = maps_of(), standardised(maps_of())
    expected = np.concatenate([standard.mean(axis=(2, 3)), 0.5 * np.log(standard.var(axis=(2, 3)) + 0.05**2)], axis=1)
    found = fit_whitening(maps).appearance(torch.from_numpy(maps))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4)


def test_whitened_maps_have_identity_covariance() -> None:
    maps = maps_of()
    features = whitened(fit_whitening(maps), maps)
    assert features.shape == maps.shape
    np.testing.assert_allclose(covariance(features), np.eye(6), atol=1e-4)


def test_it_equals_pca_in_float64() -> None:
    maps = maps_of()
    smoothed = smooth(maps)
    variances, directions = np.linalg.eigh(covariance(smoothed))
    expected = np.einsum("fc,nfhw->nchw", directions, smoothed) / np.sqrt(variances)[:, None, None]
    features = whitened(fit_whitening(maps), maps)
    # A direction has no sign.
    signs = np.sign((features * expected).sum(axis=(0, 2, 3)))[:, None, None]
    np.testing.assert_allclose(signs * features, expected, rtol=0, atol=2e-4)


def test_all_directions_are_kept() -> None:
    matrix = fit_whitening(maps_of()).get_buffer("matrix").double()
    assert matrix.shape == (6, 6)
    assert torch.linalg.matrix_rank(matrix) == 6


def test_the_result_does_not_depend_on_levels_and_units() -> None:
    maps = maps_of().astype(np.float64)
    maps /= maps.std(axis=(0, 2, 3), keepdims=True)  # far above the floor of the scale, a thousandth
    moved = maps * np.array([100, 1, 7, 30, 1000, 2])[:, None, None] + np.arange(-3, 3)[:, None, None]
    first, second = (whitened(fit_whitening(each), each) for each in (np.float32(maps), np.float32(moved)))
    signs = np.sign((first * second).sum(axis=(0, 2, 3)))[:, None, None]
    np.testing.assert_allclose(signs * first, second, rtol=0, atol=0.02)


def test_other_images_keep_their_distance_from_those_of_training() -> None:
    maps = maps_of()
    whitening = fit_whitening(maps)
    outlier = maps[:1].copy()
    outlier[0, 2, 3, 2] += 50 * maps[:, 2].std()
    moved = whitened(whitening, outlier) - whitened(whitening, maps[:1])
    places = np.abs(moved[0]).max(axis=0) > 1e-3
    assert places[2:5, 1:4].all()
    assert places.sum() == 9  # only where the nine places include it
    # The sum of squares is that of Mahalanobis, which no rotation changes.
    inverse = np.linalg.inv(covariance(smooth(maps)))
    shift = 50 * maps[:, 2].std(dtype=np.float64) / (maps[:, 2].std(dtype=np.float64) + 1e-3) / 9
    assert (moved[0, :, 3, 2].astype(np.float64) ** 2).sum() == pytest.approx(shift**2 * inverse[2, 2], rel=1e-3)


def test_constant_channels_are_floored_and_magnify_no_rounding() -> None:
    maps = maps_of(channels=6)
    maps[:, 1] = 7.25
    maps[:, 4] = -3e-3
    whitening = fit_whitening(maps)
    features = whitened(whitening, maps)
    assert np.isfinite(features).all()
    found = np.linalg.eigvalsh(covariance(features))
    # Two directions have no variance, and stay so; the others have one.
    np.testing.assert_allclose(found, [0, 0, 1, 1, 1, 1], atol=1e-3)
    # A change by a thousandth, the floor of the scale, is at most 1/√(floor of the variance) · 1/9 deviations.
    changed = maps[:1].copy()
    changed[0, 1, 3, 2] += 1e-3
    mean = np.trace(covariance(smooth(maps))) / 6
    moved = np.abs(whitened(whitening, changed) - features[:1])
    assert np.linalg.norm(moved[0, :, 3, 2]) == pytest.approx(1 / 9 / np.sqrt(1e-3 * mean), rel=1e-2)


def test_the_fit_does_not_depend_on_how_images_are_chunked() -> None:
    maps = maps_of(count=150)  # more than two chunks
    doubled = np.concatenate([maps, maps])
    first, second = fit_whitening(maps), fit_whitening(doubled)
    for name, value in first.named_buffers():
        torch.testing.assert_close(second.get_buffer(name).abs(), value.abs(), rtol=1e-4, atol=1e-4, msg=name)
