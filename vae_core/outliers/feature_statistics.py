"""Statistics of a VAE of feature maps: of the map of surprise, of the code, and of the image's mean features.

A defect is unlikely at a few places and hardly changes the sum over all: so the map's maximum and the means of its
highest places are statistics beside its mean. What lies in the whole image, its tone, colour and texture, moves the
means and spreads of the features over all places.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from vae_core.outliers.groups import Group, Statistic
from vae_core.sums import sum_pixels

_TOLERANCE = 1e-4
_PLACE, _WHOLE, _CODE = "a place of the image", "the whole image", "latent code"

_STATISTICS = (
    Statistic(
        name="peak",
        meaning="highest value of the map of surprise, max log p(·|z) − log p(f|z), averaged over 3×3 places",
        unit="nats per place",
        aspect=_PLACE,
        high="its most unusual place is {} more so than usual",
        low="no place is as unusual as the most unusual one usually is ({} less)",
        tolerance=_TOLERANCE,
    ),
    Statistic(
        name="top_places",
        meaning="mean of the five highest values of the map",
        unit="nats per place",
        aspect=_PLACE,
        high="its most unusual places are {} more so than usual",
        low="no places are as unusual as the most unusual ones usually are ({} less)",
        tolerance=_TOLERANCE,
    ),
    Statistic(
        name="top_quarter",
        meaning="mean of the highest quarter of the map",
        unit="nats per place",
        aspect=_PLACE,
        high="a part of it is {} more unusual than usual",
        low="no part of it is as unusual as usual ({} less)",
        tolerance=_TOLERANCE,
    ),
    Statistic(
        name="mean_surprise",
        meaning="mean of the map",
        unit="nats per place",
        aspect=_WHOLE,
        high="its texture and tone are {} less likely than usual",
        low="its texture and tone are suspiciously likely ({} more than usual)",
        tolerance=_TOLERANCE,
    ),
    Statistic(
        name="least_surprise",
        meaning="lowest value of the map",
        unit="nats per place",
        aspect=_WHOLE,
        high="even its most ordinary place is {} less likely than usual",
        low="its most ordinary place is suspiciously likely ({} more than usual)",
        tolerance=_TOLERANCE,
    ),
    Statistic(
        name="reconstruction",
        meaning="log p(f|z) at z = mean of q(z|f)",
        unit="nats per image",
        aspect=_WHOLE,
        high="its features are suspiciously likely ({} more than usual)",
        low="its features are {} less likely than usual",
        tolerance=_TOLERANCE,
        scale=100.0,
    ),
    Statistic(
        name="kl",
        meaning="KL(q(z|f) ‖ N(0, I))",
        unit="nats per image",
        aspect=_CODE,
        high="its latent code carries {} more information than usual",
        low="its latent code carries {} less information than usual",
        tolerance=_TOLERANCE,
    ),
    Statistic(
        name="peak_kl",
        meaning="highest KL(q(z|f) ‖ N(0, I)) of a place of the latent map",
        unit="nats per place",
        aspect=_CODE,
        high="the code of one part of it carries {} more information than usual",
        low="the code of no part of it carries as much information as usual ({} less)",
        tolerance=_TOLERANCE,
    ),
)


def feature_groups() -> tuple[Group, ...]:
    """The groups that `feature_statistics` computes. f are the feature maps."""
    return (Group(name="map", meaning="the statistics of the map", weight=1.0, statistics=_STATISTICS),)


def surprise_map(distance: Tensor) -> Tensor:
    """Nats by which the likeliest features would be likelier, averaged over 3×3 places: (N, F, h, w) → (N, h, w).

    Unlike −log p(f|z) it does not call a place odd for being rough, where any features are unlikely.
    """
    places = distance.sum(1, keepdim=True)
    return F.avg_pool2d(places, 3, stride=1, padding=1, count_include_pad=False).squeeze(1)


def feature_statistics(distance: Tensor, log_prob: Tensor, kl: Tensor) -> dict[str, Tensor]:
    """The inputs of `feature_groups` by name, each (N,).

    Args:
        distance: max log p(·|z) − log p(f|z) of each value, (N, F, h, w).
        log_prob: log p(f|z) of each value, (N, F, h, w).
        kl: KL(q(z|f) ‖ p(z)) of each place of the latent map, (N, h', w').
    """
    places = surprise_map(distance).flatten(1)
    highest = places.topk(max(5, places.shape[1] // 4), dim=1).values
    return {
        "peak": torch.log(highest[:, 0]),
        "top_places": torch.log(highest[:, :5].mean(1)),
        "top_quarter": torch.log(highest.mean(1)),
        "mean_surprise": torch.log(places.mean(1)),
        "least_surprise": torch.log(places.amin(1)),
        "reconstruction": sum_pixels(log_prob),
        "kl": kl.flatten(1).sum(1),
        "peak_kl": kl.flatten(1).amax(1),
    }
