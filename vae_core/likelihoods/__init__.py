"""The likelihoods p(x|z): heads over the decoder's output. All log-probabilities are in nats.

Each likelihood is one file, for both torch and numpy; importing it does not import torch.
"""

import importlib
from typing import TYPE_CHECKING, Literal, get_args

from vae_core.config import require

if TYPE_CHECKING:
    from vae_core.likelihoods.base import Likelihood

# The registry. `some-name` is the object LIKELIHOOD of the module some_name.
LikelihoodName = Literal[
    "bernoulli",
    "continuous-bernoulli",
    "discretised-logistic",
    "gaussian",
    "logistic-mixture",
]


def require_likelihood(name: str, causal: int) -> None:
    """Raise a UserError unless the likelihood exists and fits the side of the causal layer, 0 for none."""
    known = get_args(LikelihoodName)
    require(name in known, "likelihood", name, f"one of {', '.join(known)}")
    require(causal == 0 or causal in range(3, 16, 2), "causal", causal, "0 or odd, from 3 to 15")
    apart = f"a likelihood of independent channels where causal is {causal}, such as discretised-logistic"
    require(not causal or name != "logistic-mixture", "likelihood", name, apart)


def likelihood(name: LikelihoodName) -> "Likelihood":
    """The likelihood of that name."""
    module = importlib.import_module(f"{__name__}.{name.replace('-', '_')}")
    found: Likelihood = module.LIKELIHOOD
    return found
