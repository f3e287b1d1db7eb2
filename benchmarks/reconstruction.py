"""How closely a bundle reconstructs images that its model has not seen.

    python -m benchmarks.reconstruction bundles/emoji runs/emoji

prints JSON: the peak signal-to-noise ratio in dB of the run's calibration images (mean over images, and of the mean
squared error over all of them), and the same for a principal component analysis with as many dimensions, fitted on the
validation images.
"""

import json
import sys
from typing import Any

import numpy as np
import numpy.typing as npt

from export.runtime.scorer import Scorer
from jobs.train.run_directory import Run


def psnr(mean_squared_error: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """10 log₁₀ (255² / MSE), in dB."""
    return 10.0 * np.log10(255.0**2 / np.maximum(mean_squared_error, 1e-3))


def squared_errors(images: npt.NDArray[Any], others: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """The mean squared error of each image."""
    difference = images.astype(np.float64) - others
    return (difference**2).reshape(len(images), -1).mean(1)


def pca_reconstruction(fitted: npt.NDArray[Any], images: npt.NDArray[Any], dimensions: int) -> npt.NDArray[np.float64]:
    """Images projected on the first principal components of others."""
    flat, other = fitted.reshape(len(fitted), -1).astype(np.float64), images.reshape(len(images), -1)
    mean = flat.mean(0)
    components = np.linalg.svd(flat - mean, full_matrices=False)[2][:dimensions]
    return ((other - mean) @ components.T @ components + mean).reshape(images.shape)


def measure(bundle: str, run_directory: str) -> dict[str, Any]:
    scorer = Scorer(bundle)
    run = Run.open(run_directory)
    shape, latents = scorer.bundle.shape, scorer.bundle.latent_dim
    images = run.read_split("calibration", shape).images
    fitted = run.read_split("validation", shape).images
    errors = squared_errors(images, scorer.reconstruct(images))
    pca = squared_errors(images, pca_reconstruction(fitted, images, latents))
    return {
        "images": len(images),
        "psnr_mean_db": float(psnr(errors).mean()),
        "psnr_of_mean_error_db": float(psnr(errors.mean(keepdims=True))[0]),
        "latent_dim": latents,
        "pca_psnr_mean_db": float(psnr(pca).mean()),
        "pca_fitted_on": len(fitted),
    }


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(f"usage: {sys.argv[0]} BUNDLE RUN")
    print(json.dumps(measure(*sys.argv[1:]), indent=2))
