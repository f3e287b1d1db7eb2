"""The outlier score: how surprising an image is, group by group of its statistics.

    s(x) = Σ_g w_g E_g(x)

E_g is the surprise of group g under its density over in-distribution images (see `vae_core.outliers.density`), w_g its
weight. The densities are fitted on in-distribution images alone; the weights are the family's.
"""

from collections.abc import Mapping
from functools import reduce
from typing import NamedTuple

import torch
from torch import Tensor

from vae_core.outliers.density import Density, log_density, shares, surprise
from vae_core.outliers.groups import Group, score_output

Values = Mapping[str, Tensor]
"""A model's values for N images: each of `Group.inputs` by name, (N,), or (N, D) for a vector."""


class OutlierModel(NamedTuple):
    """The densities of in-distribution images."""

    groups: tuple[Group, ...]
    densities: Mapping[str, Density]  # by name of group


def score(values: Values, model: OutlierModel) -> dict[str, Tensor]:
    """Every statistic, then the outlier score (higher is more outlying), by name, each (N,)."""
    found: dict[str, Tensor] = {}
    terms: list[Tensor] = []
    for group in model.groups:
        density = model.densities[group.name]
        log_p = log_density(_vectors(values, group), density)
        found |= {s.name: values[s.name] if group.vector is None else log_p for s in group.statistics}
        terms.append(group.weight * surprise(log_p, density))
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
        density, vectors = model.densities[group.name], _vectors(values, group)
        log_p = log_density(vectors, density)
        term = (group.weight * surprise(log_p, density)).unsqueeze(1)
        if group.vector is None:
            of_distance, too_high = shares(vectors, density)
            contributions.append(of_distance * term)
            deviations.append(too_high)
        else:
            # −log p is this many spreads of its tail above the usual, so log p is as many too low.
            contributions.append(term)
            deviations.append(((log_p + density.usual) / density.spread).unsqueeze(1))
    return Explanation(torch.cat(contributions, dim=1), torch.cat(deviations, dim=1))


def _vectors(values: Values, group: Group) -> Tensor:
    """The vectors that the group's density describes: (N, T)."""
    columns = [values[value.name] for value in group.inputs]
    return torch.stack(columns, dim=1) if group.vector is None else columns[0]
