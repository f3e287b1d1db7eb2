"""The Fréchet distance between Gaussians fitted to two sets of feature vectors (Heusel et al. 2017).

    ‖m₁ − m₂‖² + Tr(S₁ + S₂ − 2 (S₁ S₂)^½)

It is zero for equal means and covariances. A finite number of vectors biases it upwards: compare it with that of two
sets of real images of the same size.
"""

from typing import NamedTuple, Self

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Vectors = npt.NDArray[np.floating]

_BLOCK = 4096  # vectors in float64 at once


class Gaussian(NamedTuple):
    """The Gaussian fitted to a set of vectors, in float64."""

    mean: Floats  # m, [D]
    covariance: Floats  # S, [D, D]

    @classmethod
    def of(cls, vectors: Vectors) -> Self:
        """Mean and unbiased covariance of vectors [N, D], N ≥ 2."""
        mean = vectors.mean(axis=0, dtype=np.float64)
        scatter = np.zeros((len(mean), len(mean)))
        for start in range(0, len(vectors), _BLOCK):
            centred = vectors[start : start + _BLOCK] - mean
            scatter += centred.T @ centred
        return cls(mean, scatter / (len(vectors) - 1))


def frechet_distance(first: Gaussian, second: Gaussian) -> float:
    """The squared Fréchet distance, as it is usually reported; at least 0."""
    shift = float(((first.mean - second.mean) ** 2).sum())
    # Tr (S₁S₂)^½ = Tr (S₁^½ S₂ S₁^½)^½, and of a symmetric matrix the eigenvalues are accurate.
    variances, directions = np.linalg.eigh(first.covariance)
    root = directions * np.sqrt(variances.clip(min=0.0)) @ directions.T
    shared = np.sqrt(np.linalg.eigvalsh(root @ second.covariance @ root).clip(min=0.0)).sum()
    spread = np.trace(first.covariance) + np.trace(second.covariance) - 2.0 * shared
    return max(0.0, shift + float(spread))
