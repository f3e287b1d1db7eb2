"""Hand-made features: what a careful afternoon without a network gives, with nearest neighbours and PyOD's detectors.

PyOD's have their default settings. Its ECOD ranks the images of a call among one another too, so that scores and speed
depend on how many these are.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.photographs.detector import Calibrated, Detector, Floats, Method, Training
from jobs.demo.defects import Images

_LEVELS = (1, 5, 25, 50, 75, 95, 99)  # percentiles
_BANDS = 8  # of the spectrum
_BATCH = 128

Score = Callable[[Floats], Floats]
"""Features [N, F] → scores [N]."""


def features(images: Images) -> Floats:
    """Moments, percentiles, gradients, spectrum and colour of images [N, C, H, W]: [N, F]."""
    return np.concatenate([_features(images[start : start + _BATCH]) for start in range(0, len(images), _BATCH)])


def _features(images: Images) -> Floats:
    levels = images.astype(float)
    grey = levels.mean(1)
    down, across = np.diff(grey, axis=1)[:, :, :-1], np.diff(grey, axis=2)[:, :-1]
    steepness = np.hypot(down, across)
    curvature = np.abs(
        4 * grey[:, 1:-1, 1:-1] - grey[:, 2:, 1:-1] - grey[:, :-2, 1:-1] - grey[:, 1:-1, 2:] - grey[:, 1:-1, :-2]
    )
    direction = np.abs(down).mean((1, 2)) / (np.abs(across).mean((1, 2)) + 1)
    parts = [_moments(grey), np.percentile(grey, _LEVELS, axis=(1, 2)).T]
    parts += [
        np.log1p(_moments(steepness)[:, :2]),
        np.log1p(np.percentile(steepness, (50, 90, 99, 100), axis=(1, 2)).T),
    ]
    parts += [np.log1p(np.percentile(curvature, (50, 90, 99, 100), axis=(1, 2)).T), direction[:, None], _spectrum(grey)]
    if levels.shape[1] == 3:
        parts.append(_colour(levels))
    return np.concatenate(parts, axis=1)


def _moments(values: Floats) -> Floats:
    """Mean, standard deviation, skewness and kurtosis of each of [N, …]."""
    flat = values.reshape(len(values), -1)
    deviation = flat.std(1) + 1e-3
    standard = (flat - flat.mean(1, keepdims=True)) / deviation[:, None]
    return np.stack([flat.mean(1), deviation, (standard**3).mean(1), np.log((standard**4).mean(1) + 1)], axis=1)


def _spectrum(grey: Floats) -> Floats:
    """Log mean power in rings of equal width."""
    height, width = grey.shape[1:]
    power = np.abs(np.fft.rfft2(grey - grey.mean((1, 2), keepdims=True))) ** 2 / (height * width)
    radius = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None])
    ring = np.minimum((radius / 0.5 * _BANDS).astype(int), _BANDS - 1)
    return np.stack([np.log(power[:, ring == number].mean(1) + 1e-3) for number in range(_BANDS)], axis=1)


def _colour(levels: Floats) -> Floats:
    """Means, deviations and correlation of two opponent channels, and the mean chroma."""
    opponent = np.stack([levels[:, 0] - levels[:, 1], levels[:, 1] - levels[:, 2]], axis=1)
    mean, deviation = opponent.mean((2, 3)), opponent.std((2, 3)) + 1e-3
    together = ((opponent - mean[..., None, None]) / deviation[..., None, None]).prod(1).mean((1, 2))
    chroma = np.hypot(opponent[:, 0], opponent[:, 1]).mean((1, 2))
    return np.concatenate([mean, deviation, together[:, None], chroma[:, None]], axis=1)


def _over_features(make: Callable[[Floats, int], Score]) -> Callable[[Training], Detector]:
    """A detector that is fitted on standardised features and a seed."""

    def fit(training: Training) -> Detector:
        fitted = features(training.fitting)
        mean, deviation = fitted.mean(0), fitted.std(0) + 1e-6
        score = make((fitted - mean) / deviation, training.seed)

        def compute(images: Images) -> tuple[Floats, None]:
            return score((features(images) - mean) / deviation), None

        return Calibrated(compute, training.calibration)

    return fit


def _neighbours(fitted: Floats, seed: int) -> Score:
    del seed
    from sklearn.neighbors import NearestNeighbors

    neighbours = NearestNeighbors(n_neighbors=1, algorithm="brute").fit(fitted)
    return lambda rows: np.asarray(neighbours.kneighbors(rows)[0][:, 0])


def _pyod(name: str) -> Callable[[Floats, int], Score]:
    def make(fitted: Floats, seed: int) -> Score:
        from pyod.models.ecod import ECOD
        from pyod.models.iforest import IForest
        from pyod.models.knn import KNN
        from pyod.models.lof import LOF

        detectors: dict[str, Callable[[], Any]] = {
            "ecod": ECOD,
            "iforest": lambda: IForest(random_state=seed),
            "knn": KNN,
            "lof": LOF,
        }
        detector = detectors[name]().fit(fitted)
        return lambda rows: np.asarray(detector.decision_function(rows), dtype=float)

    return make


METHODS = {
    "handmade": Method("nearest neighbour, hand-made features", _over_features(_neighbours), label="1-NN, hand-made"),
    "pyod-ecod": Method("PyOD ECOD, hand-made features", _over_features(_pyod("ecod")), label="ECOD"),
    "pyod-iforest": Method("PyOD IForest, hand-made features", _over_features(_pyod("iforest")), label="IForest"),
    "pyod-knn": Method("PyOD KNN, hand-made features", _over_features(_pyod("knn")), label="KNN"),
    "pyod-lof": Method("PyOD LOF, hand-made features", _over_features(_pyod("lof")), label="LOF"),
}
