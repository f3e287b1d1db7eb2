"""The likelihoods p(x|z): heads over the decoder's output. All log-probabilities are in nats."""

from vae_core.config import LikelihoodName
from vae_core.likelihoods.base import Likelihood
from vae_core.likelihoods.bernoulli import Bernoulli
from vae_core.likelihoods.continuous_bernoulli import ContinuousBernoulli
from vae_core.likelihoods.discretised_logistic import DiscretisedLogistic
from vae_core.likelihoods.gaussian import LearnedScaleGaussian

_LIKELIHOODS: dict[str, Likelihood] = {
    "bernoulli": Bernoulli(),
    "continuous-bernoulli": ContinuousBernoulli(),
    "gaussian": LearnedScaleGaussian(),
    "discretised-logistic": DiscretisedLogistic(),
}

__all__ = ["Likelihood", "likelihood"]


def likelihood(name: LikelihoodName) -> Likelihood:
    """The likelihood of that name."""
    return _LIKELIHOODS[name]
