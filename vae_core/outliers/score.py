"""The outlier score: how surprising an image's statistics and its code are, from one encode and one decode.

    s(x) = 2 E_t(x) + E_z(x)

E_t is the surprise of the statistics t(x) under their density over in-distribution images (see
`vae_core.outliers.density`), E_z that of the code μ(x) under the aggregate posterior of such images. The first sees how
an image is drawn, the second what it shows; both are fitted on in-distribution images alone; the weights were chosen by
the development shifts of `benchmarks/outliers`.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from vae_core.outliers.density import Density, log_density, shares, surprise
from vae_core.outliers.statistics import Statistics

NAMES = (*Statistics._fields, "log_aggregate_posterior")
"""What an outlier score is made of: the statistics, and log q(μ(x)) of the aggregate posterior."""

_STATES, _CODES = 2.0, 1.0  # the weights


class OutlierModel(NamedTuple):
    """What in-distribution images are like."""

    states: Density  # of their statistics, in the order of `Statistics`
    codes: Density  # of their codes μ(x): the aggregate posterior


class Judgement(NamedTuple):
    """What the model says of some images."""

    log_aggregate_posterior: Tensor  # log q(μ(x)), nats, (N,)
    outlier_score: Tensor  # higher is more outlying, (N,)


def judge(statistics: Statistics, code: Tensor, model: OutlierModel) -> Judgement:
    """The outlier score of images with these statistics, each (N,), and codes μ(x), (N, D)."""
    states = surprise(log_density(torch.stack(list(statistics), dim=1), model.states), model.states)
    log_aggregate = log_density(code, model.codes)
    return Judgement(log_aggregate, _STATES * states + _CODES * surprise(log_aggregate, model.codes))


class Explanation(NamedTuple):
    """Why images have the outlier scores they have; the statistics are in the order of `NAMES`."""

    contributions: Tensor  # what each statistic adds to the score, which is their sum, (N, T + 1)
    deviations: Tensor  # standard deviations by which each is too high, beside the images most like it, (N, T + 1)


def explain(statistics: Statistics, code: Tensor, model: OutlierModel) -> Explanation:
    """What each statistic has to do with the outlier score; arguments as for `judge`."""
    values = torch.stack(list(statistics), dim=1)
    states = _STATES * surprise(log_density(values, model.states), model.states)
    of_distance, deviations = shares(values, model.states)
    log_aggregate = log_density(code, model.codes)
    codes = _CODES * surprise(log_aggregate, model.codes)
    # −log q exceeds what is usual by so many spreads of its tail: log q is as many too low.
    too_high = (log_aggregate + model.codes.usual) / model.codes.spread
    return Explanation(
        torch.cat([of_distance * states.unsqueeze(1), codes.unsqueeze(1)], dim=1),
        torch.cat([deviations, too_high.unsqueeze(1)], dim=1),
    )
