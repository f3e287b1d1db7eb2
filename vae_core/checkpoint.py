"""Checkpoints: safetensors and JSON, nothing that runs code when it is read.

A checkpoint is three small files, built as bytes so that any storage can hold them:

    checkpoint.json         format, configurations, progress (epoch, step, whatever the training loop adds)
    model.safetensors       `weights.*` and `averaged.*`, by parameter name
    optimiser.safetensors   the optimiser's moments, by parameter name

No generator state is stored: the noise, the order of the images and the splits are functions of
(seed, epoch, row), and checkpoint.json records seed, epoch and step. `save` and `load` are for a plain script on a
local disk.
"""

import json
import os
import shutil
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from vae_core import models
from vae_core.config import ModelConfig, to_json
from vae_core.errors import UserError
from vae_core.models.base import Model
from vae_core.optimisation import Optimisation

FORMAT = 3
_HEAD, _MODEL, _OPTIMISER = "checkpoint.json", "model.safetensors", "optimiser.safetensors"
FILES = (_HEAD, _MODEL, _OPTIMISER)


def to_files(optimisation: Optimisation, progress: Mapping[str, Any]) -> dict[str, bytes]:
    """The state of a training run as files: name → content."""
    model = optimisation.model
    head = {
        "format": FORMAT,
        "model": to_json(model.config),
        "train": to_json(optimisation.config),
        "steps_done": optimisation.steps_done,
        "steps_skipped": optimisation.steps_skipped,
        "progress": dict(progress),
    }
    weights = {f"weights.{name}": _portable(p) for name, p in model.named_parameters()}
    averaged = {f"averaged.{name}": _portable(p) for name, p in optimisation.average.named_parameters()}
    moments = {
        f"{name}.{key}": _portable(value)
        for name, parameter in model.named_parameters()
        for key, value in optimisation.state_of(parameter).items()
    }
    return {
        _HEAD: json.dumps(head, indent=2).encode(),
        _MODEL: safetensors.torch.save(weights | averaged),
        _OPTIMISER: safetensors.torch.save(moments),
    }


def restore(files: Mapping[str, bytes], optimisation: Optimisation) -> dict[str, Any]:
    """Put a checkpoint's state into `optimisation`, in place, and return its progress.

    Raises:
        UserError: the checkpoint belongs to another model.
    """
    head = json.loads(files[_HEAD])
    _check_model(_configuration(head), optimisation.model.config)
    tensors = safetensors.torch.load(files[_MODEL])
    _fill(optimisation.model, tensors, "weights.")
    _fill(optimisation.average, tensors, "averaged.")
    moments = safetensors.torch.load(files[_OPTIMISER])
    for name, parameter in optimisation.model.named_parameters():
        for key in ("step", "exp_avg", "exp_avg_sq", "momentum"):
            if (value := moments.get(f"{name}.{key}")) is not None:
                # Same device and memory layout as the parameter; the step counter is a scalar.
                target = torch.empty_like(value if key == "step" else parameter, device=parameter.device).copy_(value)
                optimisation.state_of(parameter)[key] = target
    optimisation.steps_done = head["steps_done"]
    optimisation.skipped.fill_(head["steps_skipped"])
    progress: dict[str, Any] = head["progress"]
    return progress


def load_model(files: Mapping[str, bytes]) -> Model:
    """The model with averaged weights, in evaluation mode, on the CPU.

    Raises:
        UserError: the format is unknown.
    """
    model = models.build(_configuration(json.loads(files[_HEAD])))
    _fill(model, safetensors.torch.load(files[_MODEL]), "averaged.")
    return model.eval()


def save(directory: str | os.PathLike[str], optimisation: Optimisation, progress: Mapping[str, Any]) -> None:
    """Write a checkpoint to a local directory, replacing an existing one; it is never visible half-written."""
    target = Path(directory)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.parent / f".{target.name}.{uuid.uuid4().hex}"
    temporary.mkdir()
    for name, content in to_files(optimisation, progress).items():
        (temporary / name).write_bytes(content)
    if target.exists():
        replaced = target.parent / f".{target.name}.{uuid.uuid4().hex}"
        target.rename(replaced)
        temporary.rename(target)
        shutil.rmtree(replaced)
    else:
        temporary.rename(target)


def load(directory: str | os.PathLike[str]) -> dict[str, bytes]:
    """The files of a checkpoint that `save` wrote.

    Raises:
        UserError: there is none.
    """
    folder = Path(directory)
    if not (folder / _HEAD).is_file():
        raise UserError(f"{folder} holds no checkpoint ({_HEAD} is missing); give the directory that holds one")
    return {name: (folder / name).read_bytes() for name in FILES}


def _configuration(head: Mapping[str, Any]) -> ModelConfig:
    if head.get("format") != FORMAT:
        raise UserError(f"{_HEAD} has format {head.get('format')}, this version reads {FORMAT}; train again")
    return models.model_config(head["model"], _HEAD)


def _check_model(found: ModelConfig, expected: ModelConfig) -> None:
    for name, value in to_json(expected).items():
        if to_json(found)[name] != value:
            raise UserError(
                f"the checkpoint has {name} = {to_json(found)[name]}, this run {value}; "
                "continue with the options it was started with, or start another run"
            )


def _portable(tensor: Tensor) -> Tensor:
    return tensor.detach().to("cpu").contiguous()


@torch.no_grad()
def _fill(module: nn.Module, tensors: Mapping[str, Tensor], prefix: str) -> None:
    for name, parameter in module.named_parameters():
        parameter.copy_(tensors[prefix + name])
