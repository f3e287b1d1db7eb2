"""The outlier score: how surprising an image is, group by group of its statistics.

    s(x) = Σ_g w_g E_g(x)

E_g is the surprise of group g beside in-distribution images, w_g its weight. It is the surprise of all of the group's
numbers together under their density, or under the mass of its tails (`vae_core.outliers.density`), or else the mean
over its statistics of how far each lies in its own upper tail. All are fitted on in-distribution images alone; the
weights are the family's.
"""

from collections.abc import Mapping
from functools import reduce
from typing import NamedTuple

import torch
from torch import Tensor

from vae_core.outliers.density import Density, distance, log_density, rarity, shares, surprise, tail_surprise
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
        vectors = _vectors(values, group)
        term = _term(vectors, group, model.fits[group.name])
        found |= {s.name: values[s.name] if group.vector is None else term.statistic for s in group.statistics}
        terms.append(group.weight * term.surprise)
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
        term = _term(vectors, group, fit)
        whole = group.weight * term.surprise.unsqueeze(1)
        if group.vector is None:
            of_distance, too_high = shares(vectors, fit)
            contributions.append(of_distance * whole)
            deviations.append(too_high)
        else:
            contributions.append(whole)
            deviations.append(term.deviation.unsqueeze(1))
    return Explanation(torch.cat(contributions, dim=1), torch.cat(deviations, dim=1))


class _Term(NamedTuple):
    statistic: Tensor  # of a vector: its log density, or its rarity, (N,)
    surprise: Tensor  # (N,)
    deviation: Tensor  # spreads of its tail by which the statistic is too high, (N,)


def _term(vectors: Tensor, group: Group, fit: Density | Tails) -> _Term:
    if isinstance(fit, Tails):
        surprises = tail_surprise(vectors, fit.usual, fit.spread)
        return _Term(surprises, surprises.mean(1), surprises)
    if group.measure == "mass":
        rare = rarity(vectors, fit)
        return _Term(rare, tail_surprise(rare, fit.usual, fit.spread), (rare - fit.usual) / fit.spread)
    log_p = log_density(vectors, fit)
    # The distance is so many spreads of its tail above the usual, so log p is as many too low.
    return _Term(log_p, surprise(log_p, fit), (fit.usual - distance(log_p, fit)) / fit.spread)


def _vectors(values: Values, group: Group) -> Tensor:
    """The vectors of the group's numbers: (N, T)."""
    columns = [values[value.name] for value in group.inputs]
    return torch.stack(columns, dim=1) if group.vector is None else columns[0]
