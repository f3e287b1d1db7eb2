"""Recipes: TOML files with model and training options; some ship with the package."""

from importlib import resources
from pathlib import Path

from vae_core.config import Recipe, recipe_from_toml
from vae_core.errors import UserError

_SHIPPED = resources.files("jobs.train.recipes")


def names() -> list[str]:
    """Names of the recipes that ship with the package."""
    return sorted(item.name.removesuffix(".toml") for item in _SHIPPED.iterdir() if item.name.endswith(".toml"))


def load(name: str) -> Recipe:
    """Load a recipe by name or from a TOML file.

    Raises:
        UserError: it does not exist, or has an unknown key or an invalid value.
    """
    if name.endswith(".toml"):
        try:
            return recipe_from_toml(Path(name).expanduser().read_text("utf-8"), name)
        except OSError as error:
            raise UserError(f"cannot read the recipe {name}: {error.strerror}; check the path") from error
        except UnicodeDecodeError as error:
            raise UserError(f"{name} must be a TOML file in UTF-8, got other bytes; save it as UTF-8") from error
    if name not in names():
        raise UserError(f"--recipe must be one of {', '.join(names())} or a path ending in .toml, got {name}")
    return recipe_from_toml((_SHIPPED / f"{name}.toml").read_text("utf-8"), f"recipe {name}")
