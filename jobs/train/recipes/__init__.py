"""Recipes: TOML files that name a model and how to train it; some ship with the package."""

from importlib import resources
from pathlib import Path

from vae_core.config import Recipe, recipe_from_toml
from vae_core.errors import UserError

_SHIPPED = resources.files("jobs.train.recipes")


def names() -> list[str]:
    """The recipes that ship with the package."""
    return sorted(item.name.removesuffix(".toml") for item in _SHIPPED.iterdir() if item.name.endswith(".toml"))


def load(name: str) -> Recipe:
    """The recipe of that name, or in the TOML file at that path.

    Raises:
        UserError: there is none, or it has an unknown key or an impossible value.
    """
    if name.endswith(".toml"):
        try:
            return recipe_from_toml(Path(name).expanduser().read_text(), name)
        except OSError as error:
            raise UserError(f"cannot read the recipe {name}: {error.strerror}; check the path") from error
    if name not in names():
        raise UserError(f"there is no recipe '{name}'; those that ship are {', '.join(names())}, others end in .toml")
    return recipe_from_toml((_SHIPPED / f"{name}.toml").read_text(), f"recipe {name}")
