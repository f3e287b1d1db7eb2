"""All methods of the study, fast ones first. Requires scikit-learn and PyOD."""

from benchmarks.outliers.methods import density_of_states, likelihood, ours, path, pyod, regret, subspace
from benchmarks.outliers.methods.base import Method

METHODS: dict[str, Method] = (
    ours.METHODS
    | path.METHODS
    | likelihood.METHODS
    | density_of_states.METHODS
    | subspace.METHODS
    | pyod.METHODS
    | regret.METHODS
)
