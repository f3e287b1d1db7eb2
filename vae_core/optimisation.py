"""One training step, independent of Ray: a plain script needs only torch and this module to train.

    optimisation = Optimisation(model, config, steps_per_epoch)
    for step in range(...):
        metrics = optimisation.step(batch, noise)

Every image's gradient has the same weight, so n workers that average their gradients take the same step as one worker
on the combined batch.

A step reads nothing back from the device: decisions that depend on the gradient are made there, so that the host can
prepare the next step while the device works on this one.
"""

import copy
import math
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from vae_core.batch import Batch
from vae_core.config import TrainConfig
from vae_core.elbo import ElboTerms, objective
from vae_core.estimators import ImportanceTerms, importance_objective
from vae_core.models.base import Model
from vae_core.muon import Muon


class StepMetrics(NamedTuple):
    """Means over this worker's images, in nats, and facts about the step; they stay on the device until read."""

    elbo: Tensor  # ()
    reconstruction: Tensor  # ()
    kl: Tensor  # ()
    gradient_norm: Tensor  # (), of −ELBO/(C·H·W), before clipping
    skipped: Tensor  # (), bool: the gradient was not finite, so the weights were kept


class Optimisation:
    """AdamW or Muon with warm-up and cosine decay, KL warm-up, clipping, and averaged weights."""

    def __init__(
        self, model: Model, config: TrainConfig, steps_per_epoch: int, parallel: nn.Module | None = None
    ) -> None:
        """Create the optimiser of `model`.

        Args:
            model: on its device already; its weights become channels-last.
            config: the hyper-parameters.
            steps_per_epoch: steps per epoch, which determine the schedules.
            parallel: `model` wrapped in DistributedDataParallel, where there are several workers.
        """
        self.model = model
        self.config = config = config.for_steps(steps_per_epoch)
        assert config.epochs is not None
        assert config.warmup_steps is not None
        self.epochs = config.epochs
        self.total_steps = config.epochs * steps_per_epoch
        self._warmup_steps = min(config.warmup_steps, self.total_steps // 2)
        self.steps_per_epoch = steps_per_epoch
        self.parallel = parallel if parallel is not None else model
        self.device = next(model.parameters()).device
        # The model with averaged weights: the one that is validated and exported.
        # Not torch's AveragedModel: it reads its counter in every step and copies it to the device, for which the host
        # would wait (and takes 0.2 ms longer on a CPU).
        self.average = copy.deepcopy(model).requires_grad_(False)
        self.bf16 = config.precision == "bf16" or (config.precision == "auto" and has_bf16(self.device))
        self.optimizers = _optimizers(model, config, self.bf16)
        self.steps_done = 0
        self.skipped = torch.zeros((), device=self.device)  # steps, counted on the device

    @property
    def steps_skipped(self) -> int:
        """Steps whose gradient was not finite; waits for the device."""
        return int(self.skipped)

    def state_of(self, parameter: Tensor) -> dict[str, Tensor]:
        """What an optimiser remembers of one of the model's parameters, by name; it may be written to."""
        for optimizer in self.optimizers:
            if any(parameter is owned for group in optimizer.param_groups for owned in group["params"]):
                state: dict[str, Tensor] = optimizer.state[parameter]
                return state
        raise AssertionError("not a parameter of the model")

    def learning_rate(self, step: int) -> float:
        """The learning rate of optimisation step `step` (from 0)."""
        total, warmup = self.total_steps, self._warmup_steps
        if step < warmup:
            return self.config.learning_rate * (step + 1) / warmup
        progress = (step - warmup) / max(1, total - warmup)
        return self.config.learning_rate * 0.5 * (1.0 + math.cos(math.pi * min(1.0, progress)))

    def beta(self, step: int) -> float:
        """The weight of the KL term at step `step`."""
        warmup = self.config.kl_warmup_epochs * self.steps_per_epoch
        return min(1.0, (step + 1) / warmup) if warmup > 0 else 1.0

    def loss(self, batch: Batch, noise: Tensor) -> tuple[Tensor, ElboTerms | ImportanceTerms]:
        """−objective/(C·H·W), averaged over the images: in nats per pixel, whatever the image's size."""
        batch = {name: on_device(values, self.device) for name, values in batch.items()}
        noise = noise.to(self.device, non_blocking=True)
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.bf16):
            terms: ElboTerms | ImportanceTerms = self.parallel(batch, noise)
        beta = self.beta(self.steps_done)
        if isinstance(terms, ElboTerms):
            goal = objective(terms, beta, self.config.free_bits, self.config.class_weight)
        else:
            goal = importance_objective(terms, beta)
        return -goal.mean() / self.model.config.dimensions, terms

    def step(self, batch: Batch, noise: Tensor) -> StepMetrics:
        """One optimisation step on this worker's batch of N images with noise ~ N(0, I); see `Model.forward`."""
        for optimizer in self.optimizers:
            optimizer.zero_grad(set_to_none=True)
        loss, terms = self.loss(batch, noise)
        loss.backward()  # type: ignore[no-untyped-call]
        norm = nn.utils.get_total_norm(p.grad for p in self.model.parameters() if p.grad is not None)
        # The gradient was averaged over the workers before this, so all workers decide alike.
        skipped = ~torch.isfinite(norm)
        self._update(norm, skipped.float())
        self.steps_done += 1
        return StepMetrics(
            elbo=terms.elbo.detach().mean(),
            reconstruction=terms.reconstruction.detach().mean(),
            kl=terms.kl.detach().mean(),
            gradient_norm=norm,
            skipped=skipped,
        )

    @torch.no_grad()
    def _update(self, norm: Tensor, skipped: Tensor) -> None:
        """Update the weights and their average, unless `skipped` is 1."""
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = self.learning_rate(self.steps_done)
            # Both divide the gradient by `grad_scale`, which clips it, and skip the step where `found_inf` is 1.
            optimizer.grad_scale = (norm / self.config.gradient_clip).clamp(min=1.0).float()
            optimizer.found_inf = skipped
            optimizer.step()
        # θ̄ ← d·θ̄ + (1−d)·θ with d = min(decay, (1+t)/(10+t)), so that the first steps are forgotten quickly.
        taken = self.steps_done - self.skipped  # t
        decay = ((1.0 + taken) / (10.0 + taken)).clamp(max=self.config.ema_decay)
        weight = (1.0 - decay) * (1.0 - skipped)
        for averaged, current in zip(self.average.parameters(), self.model.parameters(), strict=True):
            averaged.lerp_(current, weight.to(current.dtype))
        self.skipped += skipped


def has_bf16(device: torch.device) -> bool:
    """Whether the device has bf16 matrix instructions, which make bf16 faster than fp32."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type == "cpu" and hasattr(torch.cpu, "get_capabilities"):
        capabilities = torch.cpu.get_capabilities()
        return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))
    return False


def on_device(values: Tensor, device: torch.device) -> Tensor:
    """An input of a model on `device`: images channels-last, in which convolutions are fastest, and fp16 as fp32."""
    values = values.to(device, non_blocking=True)
    values = values.float() if values.dtype == torch.float16 else values
    return values.contiguous(memory_format=torch.channels_last) if values.ndim == 4 else values


def to_device(model: Model, device: torch.device | str) -> Model:
    """The model on `device` with channels-last weights, the layout in which convolutions are fastest."""
    return model.to(device).to(memory_format=torch.channels_last)


def _optimizers(model: nn.Module, config: TrainConfig, bf16: bool) -> list[Any]:
    """The optimisers, each of its own parameters. Biases, which shift the inputs of the ReLUs, do not decay."""
    weights = [p for p in model.parameters() if p.ndim > 1]
    others = {"params": [p for p in model.parameters() if p.ndim <= 1], "weight_decay": 0.0}
    if config.optimiser == "muon":
        muon = Muon(weights, config.learning_rate, config.weight_decay, bf16=bf16)
        return [muon, _adamw([others], config)]
    return [_adamw([{"params": weights, "weight_decay": config.weight_decay}, others], config)]


def _adamw(groups: list[dict[str, Any]], config: TrainConfig) -> torch.optim.AdamW:
    return torch.optim.AdamW(groups, lr=config.learning_rate, betas=(0.9, 0.99), fused=True)
