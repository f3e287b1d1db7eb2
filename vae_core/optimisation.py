"""One step of training, free of Ray: a plain script on any machine with torch trains with this alone.

    optimisation = Optimisation(model, config, steps_per_epoch)
    for step in range(...):
        metrics = optimisation.step(images, noise)

Every image's gradient enters with the same weight, so n workers that average their gradients take the step that one
worker takes on the joined batch.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from vae_core.config import TrainConfig
from vae_core.elbo import ElboTerms, objective
from vae_core.model import VAE


class StepMetrics(NamedTuple):
    """Means over this worker's images, in nats, and what the step did."""

    elbo: Tensor  # ()
    reconstruction: Tensor  # ()
    kl: Tensor  # ()
    gradient_norm: float  # of −ELBO/(C·H·W), before clipping
    skipped: bool  # the gradient was not finite: the weights stayed


class Optimisation:
    """AdamW with warm-up and cosine decay, KL warm-up, clipping, and averaged weights."""

    def __init__(
        self, model: VAE, config: TrainConfig, steps_per_epoch: int, parallel: nn.Module | None = None
    ) -> None:
        """Make the optimiser of `model`.

        Args:
            model: on its device already; its weights become channels-last.
            config: the hyper-parameters.
            steps_per_epoch: steps in a pass over the data, from which the schedules follow.
            parallel: `model` wrapped in DistributedDataParallel, where there are several workers.
        """
        self.model = model
        self.config = config
        self.steps_per_epoch = steps_per_epoch
        self.parallel = parallel if parallel is not None else model
        self.device = next(model.parameters()).device
        self.averaged = AveragedModel(model, multi_avg_fn=_average(config.ema_decay))
        self.optimizer = torch.optim.AdamW(
            _decay_groups(model, config.weight_decay), lr=config.learning_rate, betas=(0.9, 0.99), fused=True
        )
        self.steps_done = 0
        self.steps_skipped = 0
        self.bf16 = config.precision == "bf16" or (
            config.precision == "auto" and self.device.type == "cuda" and torch.cuda.is_bf16_supported()
        )

    @property
    def average(self) -> VAE:
        """The model with averaged weights: the one that is validated and exported."""
        module = self.averaged.module
        assert isinstance(module, VAE)
        return module

    def learning_rate(self, step: int) -> float:
        """The learning rate of optimisation step `step` (from 0)."""
        total = self.config.epochs * self.steps_per_epoch
        warmup = min(self.config.warmup_steps, total // 2)
        if step < warmup:
            return self.config.learning_rate * (step + 1) / warmup
        progress = (step - warmup) / max(1, total - warmup)
        return self.config.learning_rate * 0.5 * (1.0 + math.cos(math.pi * min(1.0, progress)))

    def beta(self, step: int) -> float:
        """The weight of the KL term at step `step`."""
        warmup = self.config.kl_warmup_epochs * self.steps_per_epoch
        return min(1.0, (step + 1) / warmup) if warmup > 0 else 1.0

    def loss(self, image: Tensor, noise: Tensor) -> tuple[Tensor, ElboTerms]:
        """−objective/(C·H·W), averaged over the images: in nats per pixel, whatever the image's size."""
        image = image.to(self.device, non_blocking=True).contiguous(memory_format=torch.channels_last)
        noise = noise.to(self.device, non_blocking=True)
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.bf16):
            terms: ElboTerms = self.parallel(image, noise)
        goal = objective(terms, self.beta(self.steps_done), self.config.free_bits)
        return -goal.mean() / self.model.config.dimensions, terms

    def step(self, image: Tensor, noise: Tensor) -> StepMetrics:
        """One optimisation step on this worker's images uint8 (N, C, H, W) with noise ε (N, D)."""
        self.optimizer.zero_grad(set_to_none=True)
        loss, terms = self.loss(image, noise)
        loss.backward()  # type: ignore[no-untyped-call]
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), self.config.gradient_clip).item()
        # The gradient was averaged over the workers before this, so all of them decide alike.
        skipped = not math.isfinite(norm)
        if skipped:
            self.steps_skipped += 1
        else:
            for group in self.optimizer.param_groups:
                group["lr"] = self.learning_rate(self.steps_done)
            self.optimizer.step()
            self.averaged.update_parameters(self.model)
        self.steps_done += 1
        return StepMetrics(
            elbo=terms.elbo.detach().mean(),
            reconstruction=terms.reconstruction.detach().mean(),
            kl=terms.kl.detach().mean(),
            gradient_norm=norm,
            skipped=skipped,
        )


def to_device(model: VAE, device: torch.device | str) -> VAE:
    """The model on `device` with channels-last weights, the layout in which convolutions are fastest."""
    return model.to(device).to(memory_format=torch.channels_last)


def _decay_groups(model: nn.Module, weight_decay: float) -> list[dict[str, object]]:
    """Weights decay towards zero; biases, which shift what the ReLUs see, do not."""
    parameters = list(model.parameters())
    return [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]


def _average(decay: float):  # type: ignore[no-untyped-def]
    """θ̄ ← d·θ̄ + (1−d)·θ with d = min(decay, (1+t)/(10+t)), so that the first steps are forgotten quickly."""

    @torch.no_grad()
    def update(averaged: Sequence[Tensor], current: Sequence[Tensor], updates: Tensor | int) -> None:
        count = float(updates)
        weight = 1.0 - min(decay, (1.0 + count) / (10.0 + count))
        torch._foreach_lerp_(list(averaged), list(current), weight)

    return update
