"""Statistics of a VAE of feature maps.

A defect is unlikely at a few places and hardly changes the sum over all, so the highest values of the map of surprise
are statistics: its maximum, and the means of its highest fiftieth and tenth. Only high values say anything, so each is
judged by its upper tail. What lies in the whole image, its tone, colour and texture, moves the means and spreads of the
features over all places, and the palette: their density is of the training images too, since nothing in them is
trained. The likelihood and the code come last.

The map is of max log p(·|z) − log p(f|z), and not of −log p(f|z), which is high wherever an image is rough. Its mean is
no statistic: it adds nothing to its highest values, and drifts with the images.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from vae_core.outliers.groups import Group, Statistic
from vae_core.outputs import Output
from vae_core.sums import sum_pixels

_TOLERANCE = 1e-4  # exponentials of log-scales magnify rounding
_FLOOR = 1e-2  # nats: no map is that low
_PLACE, _WHOLE, _APPEARANCE, _CODE = (
    "a place of the image",
    "the whole image",
    "tone, colour and texture",
    "latent code",
)

_PLACES = (
    Statistic(
        name="peak",
        meaning="log of the highest value of the map of surprise: max log p(·|z) − log p(f|z), mean of 3×3 places",
        unit="log nats per place",
        aspect=_PLACE,
        high="its {place} is {} more unusual than the oddest place of an image usually is",
        low="no place is as unusual as the oddest usually is ({} less)",
        tolerance=_TOLERANCE,
    ),
    Statistic(
        name="top_fiftieth",
        meaning="log of the mean of the highest fiftieth of the map",
        unit="log nats per place",
        aspect=_PLACE,
        high="a small part of it, around its {place}, is {} more unusual than usual",
        low="no small part is as unusual as the oddest usually is ({} less)",
        tolerance=_TOLERANCE,
    ),
    Statistic(
        name="top_tenth",
        meaning="log of the mean of the highest tenth of the map",
        unit="log nats per place",
        aspect=_PLACE,
        high="a tenth of it, around its {place}, is {} more unusual than usual",
        low="no part is as unusual as the oddest usually is ({} less)",
        tolerance=_TOLERANCE,
    ),
)

_LOOKS = Statistic(
    name="appearance_rarity",
    meaning="−log of the share of usual images as far from their kind in means and spreads of the features and palette",
    unit="nats",
    aspect=_APPEARANCE,
    high="its tone, colour and texture are {} rarer than usual",
    low="its tone, colour and texture are suspiciously common ({} less rare than usual)",
    tolerance=_TOLERANCE,
)


def feature_groups(appearance: Output, nats_scale: float) -> tuple[Group, ...]:
    """The groups that `feature_statistics` computes.

    Args:
        appearance: the vector of what is said of the whole image.
        nats_scale: the smallest magnitude that differences of summed log-probabilities are relative to.
    """
    return (
        Group(
            name="places",
            meaning="the statistics of the map of surprise, each by its upper tail",
            weight=2.0,
            statistics=_PLACES,
            measure="tails",
        ),
        Group(
            name="appearance",
            meaning="the image's tone, colour and texture",
            weight=1.0,
            ridge=1e-1,  # these are many numbers for a few hundred images
            vector=appearance,
            measure="mass",
            of_training=True,
            statistics=(_LOOKS,),
        ),
        Group(
            name="likelihood",
            meaning="the likelihood of the features",
            weight=0.5,
            statistics=_likelihood(nats_scale),
        ),
    )


def _likelihood(nats_scale: float) -> tuple[Statistic, ...]:
    return (
        Statistic(
            name="reconstruction",
            meaning="log p(f|z) at z = mean of q(z|f)",
            unit="nats per image",
            aspect=_WHOLE,
            high="its features are suspiciously likely ({} more than usual)",
            low="its features are {} less likely than usual",
            tolerance=_TOLERANCE,
            scale=nats_scale,
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


def surprise_map(distance: Tensor) -> Tensor:
    """Nats by which the likeliest features would be likelier, averaged over 3×3 places: (N, F, h, w) → (N, h, w).

    Unlike −log p(f|z) it does not call a place odd for being rough, where any features are unlikely.
    """
    places = distance.sum(1, keepdim=True)
    return F.avg_pool2d(places, 3, stride=1, padding=1, count_include_pad=False).squeeze(1)


def feature_statistics(distance: Tensor, log_prob: Tensor, kl: Tensor) -> dict[str, Tensor]:
    """The scalars of `feature_groups` by name, each (N,).

    Args:
        distance: max log p(·|z) − log p(f|z) of each value, (N, F, h, w).
        log_prob: log p(f|z) of each value, (N, F, h, w).
        kl: KL(q(z|f) ‖ p(z)) of each place of the latent map, (N, h', w').
    """
    places = surprise_map(distance).flatten(1)
    highest = places.topk(max(1, places.shape[1] // 10), dim=1).values
    kl_places = kl.flatten(1)
    return {
        "peak": torch.log(highest[:, 0] + _FLOOR),
        "top_fiftieth": torch.log(highest[:, : max(1, places.shape[1] // 50)].mean(1) + _FLOOR),
        "top_tenth": torch.log(highest.mean(1) + _FLOOR),
        "reconstruction": sum_pixels(log_prob),
        "kl": kl_places.sum(1),
        "peak_kl": kl_places.amax(1),
    }
