"""The registry of model families: a family is a configuration and a model, both imported by name on demand.

`FAMILIES` lists the built-in families; an installed package adds its own as an entry point of the group
`vae_core.families` whose value is a `Family`. Names in checkpoints and recipes are only ever looked up here.
"""

import pkgutil
from collections.abc import Mapping
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any, NamedTuple

from vae_core.config import ModelConfig, from_json
from vae_core.errors import UserError
from vae_core.lazy import torch

if TYPE_CHECKING:
    from vae_core.models.base import Model


class Family(NamedTuple):
    """Where a family's classes are, as `module:attribute`; the configuration's module must not import torch."""

    config: str
    """A dataclass derived from `vae_core.config.ModelConfig`."""
    model: str
    """A subclass of `vae_core.models.base.Model`, made from such a configuration."""


FAMILIES: dict[str, Family] = {
    "conv": Family("vae_core.models.conv.config:ConvConfig", "vae_core.models.conv.model:ConvVAE"),
    "features": Family("vae_core.models.features.config:FeaturesConfig", "vae_core.models.features.model:FeatureVAE"),
    "ladder": Family("vae_core.models.ladder.config:LadderConfig", "vae_core.models.ladder.model:LadderVAE"),
}
DEFAULT = "conv"
_GROUP = "vae_core.families"


def family(name: object) -> Family:
    """The family of that name.

    Raises:
        UserError: there is none.
    """
    if isinstance(name, str):
        if name in FAMILIES:
            return FAMILIES[name]
        for entry in entry_points(group=_GROUP, name=name):
            found: Family = entry.load()
            return found
    raise UserError(f"family must be one of {', '.join(names())}, got {name!r}")


def names() -> list[str]:
    """The names of all families."""
    return sorted({*FAMILIES, *entry_points(group=_GROUP).names})


def config_type(name: object) -> type[ModelConfig]:
    """The configuration of the family of that name; see `family` for what it raises."""
    kind: type[ModelConfig] = pkgutil.resolve_name(family(name).config)
    return kind


def model_config(values: Mapping[str, Any], where: str) -> ModelConfig:
    """A model's configuration from JSON or TOML values, of the family that `values["family"]` names ("conv" if none).

    Raises:
        UserError: the family or a key is unknown, or a value is invalid.
    """
    try:
        kind = config_type(values.get("family", DEFAULT))
    except UserError as error:
        raise UserError(f"{where}: {error}") from error
    return from_json(kind, values, where)


def build(config: ModelConfig) -> "Model":
    """A model with untrained weights, from torch's global generator."""
    kind: Any = model_type(config.family)  # each takes a configuration of its own
    model: Model = kind(config)
    return model


def model_type(name: str) -> "type[Model]":
    """The model of the family of that name; see `family` for what it raises."""
    kind: type[Model] = pkgutil.resolve_name(family(name).model)
    return kind


def seeded(config: ModelConfig, seed: int) -> "Model":
    """A model with initial weights drawn from `seed`, leaving torch's global generator as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build(config)
