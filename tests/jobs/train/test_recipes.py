"""Recipes of users: files that are no recipes end in a sentence."""

from pathlib import Path

import pytest

from jobs.train import recipes
from vae_core.errors import UserError


def test_a_recipe_in_another_encoding(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_bytes("# für Ziegel\n".encode("latin-1"))
    with pytest.raises(UserError, match=r"mine\.toml must be a TOML file in UTF-8, got other bytes"):
        recipes.load(str(path))


def test_a_recipe_that_is_a_folder(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").mkdir()
    with pytest.raises(UserError, match=r"cannot read the recipe .*mine\.toml: Is a directory"):
        recipes.load(str(tmp_path / "mine.toml"))
