"""The outlier score: how surprising an image is, group by group of its statistics.

    s(x) = Σ_g w_g E_g(x)

E_g is the surprise of group g beside in-distribution images, w_g its weight. It is the surprise of all of the group's
numbers together under their density (`vae_core.outliers.density`), or, for a one-sided group, the mean over its
statistics of how far each lies in its own upper tail. Both are fitted on in-distribution images alone; the weights are
the family's.
"""

from collections.abc import Mapping
from functools import reduce
from typing import NamedTuple

import torch
from torch import Tensor

from vae_core.outliers.density import Density, distance, log_density, shares, surprise, tail_surprise
from vae_core.outliers.groups import Group, score_output

Values = Mapping[str, Tensor]
"""A model's values for N images: each of `Group.inputs` by name, (N,), or (N, D) for a vector."""


class Tails(NamedTuple):
    """The upper tails of T statistics over in-distribution images; see `tail_surprise`."""

    usual: Tensor  # (T,)
    spread: Tensor  # (T,)
    deviation: Tensor  # their standard deviations, (T,)


class OutlierModel(NamedTuple):
    """What in-distribution images are like."""

    groups: tuple[Group, ...]
    fits: Mapping[str, Density | Tails]  # by name of group


def score(values: Values, model: OutlierModel) -> dict[str, Tensor]:
    """Every statistic, then the outlier score (higher is more outlying), by name, each (N,)."""
    found: dict[str, Tensor] = {}
    terms: list[Tensor] = []
    for group in model.groups:
        fit, vectors = model.fits[group.name], _vectors(values, group)
        if isinstance(fit, Tails):
            term = tail_surprise(vectors, fit.usual, fit.spread).mean(1)
        else:
            log_p = log_density(vectors, fit)
            term = surprise(log_p, fit)
        found |= {s.name: values[s.name] if group.vector is None else log_p for s in group.statistics}
        terms.append(group.weight * term)
    found[score_output(model.groups).name] = reduce(torch.add, terms)
    return found


class Explanation(NamedTuple):
    """What makes up the outlier scores of images; the statistics are in the order of `statistics_of`."""

    contributions: Tensor  # what each statistic adds to the score, which is their sum, (N, T)
    deviations: Tensor  # standard deviations by which each exceeds the images most like it, (N, T)


def explain(values: Values, model: OutlierModel) -> Explanation:
    """What each statistic contributes to the outlier score."""
    contributions: list[Tensor] = []
    deviations: list[Tensor] = []
    for group in model.groups:
        fit, vectors = model.fits[group.name], _vectors(values, group)
        if isinstance(fit, Tails):
            contributions.append(group.weight / vectors.shape[1] * tail_surprise(vectors, fit.usual, fit.spread))
            deviations.append((vectors - fit.usual) / fit.deviation)
            continue
        log_p = log_density(vectors, fit)
        term = (group.weight * surprise(log_p, fit)).unsqueeze(1)
        if group.vector is None:
            of_distance, too_high = shares(vectors, fit)
            contributions.append(of_distance * term)
            deviations.append(too_high)
        else:
            # The distance is this many spreads of its tail above the usual, so log p is as many too low.
            contributions.append(term)
            deviations.append(((fit.usual - distance(log_p, fit)) / fit.spread).unsqueeze(1))
    return Explanation(torch.cat(contributions, dim=1), torch.cat(deviations, dim=1))


def _vectors(values: Values, group: Group) -> Tensor:
    """The vectors of the group's numbers: (N, T)."""
    columns = [values[value.name] for value in group.inputs]
    return torch.stack(columns, dim=1) if group.vector is None else columns[0]
