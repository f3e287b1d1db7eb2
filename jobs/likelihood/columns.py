"""The columns of estimates of log p(x), in nats: `refined_log_px`, `refined_pareto_k` and so on.

Every name begins with that of the estimator, so that no likelihood is without one.
"""

import math
from collections.abc import Collection, Iterator, Mapping
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from export.runtime.likelihood import REFINED_SAMPLES, ImageLikelihood, LikelihoodEstimator

EstimatorName = Literal["elbo", "importance", "monte-carlo", "refined", "annealed"]

ELBO = ("elbo", "elbo_variance", "elbo_reconstruction", "elbo_reconstruction_variance", "elbo_kl")
"""Columns of the fields of an `Elbo`; scores have statistics `reconstruction` and `kl`, which are others."""
WEIGHTED = ("importance", "monte_carlo", "refined", "annealed")
"""Estimators with weights: fields of an `ImageLikelihood`, and prefixes of column names."""
NUMBERS = ("log_px", "variance", "bias", "relative_error", "effective_samples", "pareto_k", "setup", "decodes")
"""The numbers of an `Estimate`."""
BOUNDS = "bounds"


def estimate_fields(estimators: Collection[str], bounds: bool) -> list[pa.Field]:
    """The columns of the estimators, with the lists of bounds or without.

    A value is null where an estimator was not asked for, or could not be computed.
    """
    found = [pa.field(name, pa.float64()) for name in ELBO if "elbo" in estimators]
    for name in WEIGHTED:
        if name.replace("_", "-") in estimators:
            found += [pa.field(f"{name}_{field}", pa.float64()) for field in NUMBERS]
            if bounds:
                found.append(pa.field(f"{name}_{BOUNDS}", pa.list_(pa.float64())))
    return found


def estimate_row(
    estimator: LikelihoodEstimator, image: npt.NDArray[np.uint8], row: int, estimators: Collection[str]
) -> dict[str, Any] | None:
    """The likelihood of an image by column, bounds among them; None if an estimate is not finite.

    The arguments are those of `LikelihoodEstimator.estimate`.
    """
    with np.errstate(all="ignore"):
        try:
            found = _values(estimator.estimate(image, row, estimators))
        except np.linalg.LinAlgError:  # a curvature of non-finite values
            return None
    return found if all(map(math.isfinite, _numbers(found))) else None


def _values(found: ImageLikelihood) -> dict[str, Any]:
    values: dict[str, Any] = {}
    if found.elbo is not None:
        values |= dict(zip(ELBO, found.elbo, strict=True))
    for name in WEIGHTED:
        estimate = getattr(found, name)
        if estimate is not None:
            values |= {f"{name}_{field}": value for field, value in estimate._asdict().items()}
            if math.isnan(estimate.pareto_k):  # too few weights for a tail
                values[f"{name}_pareto_k"] = None
    return values


def _numbers(values: Mapping[str, Any]) -> Iterator[float]:
    for name, value in values.items():
        if value is not None:
            yield from value if name.endswith(BOUNDS) else [value]


def sample_counts(estimators: Collection[str], samples: int, chains: int) -> dict[str, int]:
    """Weights of each estimate, by name in `WEIGHTED`, of the estimators asked for."""
    counts = {"importance": samples, "monte_carlo": samples, "refined": REFINED_SAMPLES, "annealed": chains}
    return {name: count for name, count in counts.items() if name.replace("_", "-") in estimators}
