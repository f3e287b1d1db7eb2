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
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from vae_core import models
from vae_core.config import ModelConfig, to_json
from vae_core.errors import RunError, UserError, parsing
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
        UserError: the checkpoint is damaged, or belongs to another model.
    """
    with _reading():
        head = _head(files)
        _check_model(_configuration(head), optimisation.model.config)
        tensors = safetensors.torch.load(files[_MODEL])
        _fill(optimisation.model, tensors, "weights.")
        _fill(optimisation.average, tensors, "averaged.")
        moments = safetensors.torch.load(files[_OPTIMISER])
        for name, parameter in optimisation.model.named_parameters():
            for key in ("step", "exp_avg", "exp_avg_sq", "momentum"):
                if (value := moments.get(f"{name}.{key}")) is not None:
                    _check_shape(f"{name}.{key}", value, torch.Size() if key == "step" else parameter.shape)
                    # Same device and memory layout as the parameter; the step counter is a scalar.
                    like = value if key == "step" else parameter
                    target = torch.empty_like(like, device=parameter.device).copy_(value)
                    optimisation.state_of(parameter)[key] = target
        optimisation.steps_done = head["steps_done"]
        optimisation.skipped.fill_(head["steps_skipped"])
        progress: dict[str, Any] = head["progress"]
        return progress


def load_model(files: Mapping[str, bytes]) -> Model:
    """The model with averaged weights, in evaluation mode, on the CPU.

    Raises:
        UserError: the checkpoint is damaged, or its format is unknown.
    """
    with _reading():
        config = _configuration(_head(files))
        tensors = safetensors.torch.load(files[_MODEL])
        # Without memory for its weights: a configuration can ask for more than there is.
        with torch.device("meta"):
            for name, parameter in models.build(config).named_parameters():
                _check_shape(name, tensors[f"averaged.{name}"], parameter.shape)
        model = models.build(config)
        _fill(model, tensors, "averaged.")
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


def _reading() -> AbstractContextManager[None]:
    return parsing("the checkpoint", "copy the run again, or train again", RunError)


def _head(files: Mapping[str, bytes]) -> dict[str, Any]:
    head: dict[str, Any] = json.loads(files[_HEAD])
    if head.get("format") == FORMAT:
        for name in ("steps_done", "steps_skipped"):
            if type(count := head[name]) is not int or not 0 <= count < 1 << 53:
                raise ValueError(f"{name} must be a number of steps, got {count!r:.100}")
        if not isinstance(head["progress"], dict):
            raise ValueError("progress must be an object")
    return head


def _configuration(head: Mapping[str, Any]) -> ModelConfig:
    if head.get("format") != FORMAT:
        raise UserError(f"{_HEAD} has format {head.get('format')!r:.20}, this version reads {FORMAT}; train again")
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
        value = tensors[prefix + name]
        _check_shape(name, value, parameter.shape)  # or it would be spread over the parameter
        parameter.copy_(value)


def _check_shape(name: str, value: Tensor, shape: torch.Size) -> None:
    if value.shape != shape:
        raise ValueError(f"{name} must have the shape {tuple(shape)}, got {tuple(value.shape)}")
