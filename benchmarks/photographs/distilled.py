"""A stand-in for EfficientAD (Batzner et al. 2024): student, autoencoder and teacher, which here is the backbone.

    student–teacher map       d(x) = mean_c (t − s)²      local defects
    student–autoencoder map   g(x) = mean_c (a − s′)²     content that is odd as a whole

t are the standardised maps that PatchCore's stand-in looks at; s and s′ are the two halves of the student's output, a
the autoencoder's, which has 64 latent variables. Each map is scaled by its quantiles over held-out images (0.9 → 0,
0.995 → 0.1); a place scores their mean, an image as its highest place. As in the paper the student learns from the
places where it is worst (the hardest 0.1% of the errors) and, for s′, from the autoencoder.

Unlike in the paper the teacher is no small network distilled from a large one, there is no penalty on ImageNet's images
and no augmentation for the autoencoder, and training is brief: the paper's is of 70,000 steps.
"""

from itertools import chain

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.photographs.detector import Calibrated, Detector, Method, Training
from benchmarks.photographs.patches import Standardised, by_highest, in_batches
from jobs.demo.defects import Images

_STRIDE = 8  # of the networks, from an image resized to so many times the maps' side
_LATENT, _HARDEST = 64, 0.001
_BATCH, _RATE = 8, 1e-3
_HELD_OUT = 0.1
_QUANTILES, _TO = (0.9, 0.995), 0.1


def _distilled(training: Training) -> Detector:
    torch.manual_seed(training.seed)
    patches = Standardised(training)
    maps, images = patches.fitted, training.fitting
    channels, side = maps.shape[1], (maps.shape[2], maps.shape[3])
    student, autoencoder = _student(images.shape[1], 2 * channels), _autoencoder(images.shape[1], channels, side)
    optimiser = torch.optim.Adam(chain(student.parameters(), autoencoder.parameters()), lr=_RATE)
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(training.seed))
    held_out, learned = order.split([(number := round(_HELD_OUT * len(order))), len(order) - number])
    for rows in in_batches(len(learned), _BATCH, optimiser, training.seed):
        chosen = learned[rows]
        inputs, teacher = _inputs(images[chosen.numpy()], side), maps[chosen]
        of_teacher, of_autoencoder = student(inputs).chunk(2, 1)
        coded = autoencoder(inputs)
        errors = (teacher - of_teacher).square().flatten()
        hardest = errors.topk(round(_HARDEST * len(errors))).values.mean()
        loss = hardest + F.mse_loss(coded, teacher) + F.mse_loss(of_autoencoder, coded.detach())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    student.eval(), autoencoder.eval()

    @torch.inference_mode()
    def both(images: Images, teacher: Tensor) -> Tensor:
        inputs = _inputs(images, side)
        of_teacher, of_autoencoder = student(inputs).chunk(2, 1)
        pairs = (teacher, of_teacher), (autoencoder(inputs), of_autoencoder)
        return torch.stack([(a - b).square().mean(1) for a, b in pairs])

    parts = held_out.split(128)
    ordinary = torch.cat([both(images[rows.numpy()], maps[rows]) for rows in parts], dim=1).flatten(1)
    low, high = (torch.quantile(ordinary, each, dim=1)[:, None, None, None] for each in _QUANTILES)

    def surprise(images: Images) -> Tensor:
        return (_TO * (both(images, patches(images)) - low) / (high - low)).mean(0)

    return Calibrated(by_highest(surprise), training.calibration)


def _inputs(images: Images, side: tuple[int, int]) -> Tensor:
    """Images [N, C, H, W] as the networks take them, in [−1, 1]."""
    levels = torch.from_numpy(images).float() / 127.5 - 1
    return F.interpolate(levels, size=(_STRIDE * side[0], _STRIDE * side[1]), mode="bilinear")


def _student(inputs: int, outputs: int) -> nn.Sequential:
    halves = [*_half(inputs, 32), *_half(32, 64), *_half(64, 128)]
    deep = [layer for _ in range(2) for layer in (nn.Conv2d(128, 128, 3, padding=1), nn.ReLU())]
    return nn.Sequential(*halves, *deep, nn.Conv2d(128, outputs, 1))


def _autoencoder(inputs: int, outputs: int, side: tuple[int, int]) -> nn.Sequential:
    half = (side[0] // 2, side[1] // 2)
    encoder = [*_half(inputs, 32), *_half(32, 32), *_half(32, 64), *_half(64, 64)]
    code = [nn.Flatten(), nn.LazyLinear(_LATENT), nn.Linear(_LATENT, 64 * half[0] * half[1])]
    decoder = [nn.Unflatten(1, (64, *half)), nn.Upsample(size=side, mode="bilinear")]
    decoder += [nn.Conv2d(64, 64, 3, padding=1), nn.ReLU(), nn.Conv2d(64, outputs, 3, padding=1)]
    network = nn.Sequential(*encoder, *code, *decoder)
    network(torch.zeros(1, inputs, _STRIDE * side[0], _STRIDE * side[1]))
    return network


def _half(inputs: int, outputs: int) -> tuple[nn.Module, nn.Module]:
    """A convolution that halves the sides."""
    return nn.Conv2d(inputs, outputs, 3, stride=2, padding=1), nn.ReLU()


METHODS = {"efficientad": Method("EfficientAD (stand-in)", _distilled, is_pretrained=True, label="EfficientAD")}
