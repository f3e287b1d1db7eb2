"""The likelihoods p(x|z): heads over the decoder's output. All log-probabilities are in nats.

Each likelihood is one file, for both torch and numpy; importing it does not import torch.
"""

import importlib
from typing import TYPE_CHECKING, Literal, get_args

from vae_core.errors import UserError

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


def names() -> tuple[str, ...]:
    """The names of all likelihoods."""
    return get_args(LikelihoodName)


def likelihood(name: LikelihoodName) -> "Likelihood":
    """The likelihood of that name.

    Raises:
        UserError: there is none; the name may come from somebody else's bundle.
    """
    if name not in names():
        raise UserError(f"likelihood must be one of {', '.join(names())}, got {name!r:.100}")
    module = importlib.import_module(f"{__name__}.{name.replace('-', '_')}")
    found: Likelihood = module.LIKELIHOOD
    return found
