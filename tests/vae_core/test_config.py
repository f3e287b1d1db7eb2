import json

import pytest

from jobs.train import recipes
from vae_core.config import TrainConfig, from_json, recipe_from_toml, to_json
from vae_core.errors import UserError
from vae_core.models.conv.config import ConvConfig


def test_json_round_trip() -> None:
    model = ConvConfig(image_shape=(3, 64, 48), widths=(8, 16), likelihood="gaussian")
    assert from_json(ConvConfig, json.loads(json.dumps(to_json(model))), "here") == model
    train = TrainConfig(epochs=3, learning_rate=0.5)
    assert from_json(TrainConfig, json.loads(json.dumps(to_json(train))), "here") == train


@pytest.mark.parametrize(
    ("toml", "said"),
    [
        ("[train]\nlearning_rat = 1e-3", "unknown key 'learning_rat'"),
        ("[model]\nlatent_dims = 3", "unknown key 'latent_dims'"),
        ("[modle]\nlatent_dim = 3", "unknown key 'modle'"),
        ("epochs = 3", "unknown key 'epochs'"),
        ("[train]\nepochs = 0", "epochs must be at least 1, got 0"),
        ("[train]\nepochs = 1.5", "epochs must be an integer, got 1.5"),
        ("[train]\nepochs = true", "epochs must be an integer, got True"),
        ("[train]\nlearning_rate = 'fast'", "learning_rate must be a number, got 'fast'"),
        ("[model]\nlikelihood = 'student'", "one of bernoulli, continuous-bernoulli"),
        ("[model]\nwidths = [8, 'x']", "widths must be an integer, got 'x'"),
        ("[model]\nwidths = []", "widths must be one to six numbers, got ()"),
        ("[model]\nimage_shape = [5, 28, 28]", "image_shape"),
        ("[model]\nimage_shape = [1, 4, 28]", "8 to 256 pixels"),
        ("[model]\nfamily = 'diffusion'", "family must be one of conv, features, ladder, got 'diffusion'"),
        ("[model]\nfamily = 3", "family must be one of conv, features, ladder, got 3"),
        ("[train\n", "not valid TOML"),
    ],
)
def test_a_mistake_in_a_recipe_is_named(toml: str, said: str) -> None:
    with pytest.raises(UserError, match=r"my\.toml") as error:
        recipe_from_toml(toml, "my.toml")
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_integers_are_numbers_and_defaults_fill_in() -> None:
    recipe = recipe_from_toml("[train]\nlearning_rate = 1\n", "here")
    assert recipe.train.learning_rate == 1.0
    assert recipe.train == TrainConfig(learning_rate=1.0)
    assert recipe.model == ConvConfig()


@pytest.mark.parametrize("name", recipes.names())
def test_shipped_recipes_load(name: str) -> None:
    assert recipes.load(name).train.epochs


@pytest.mark.parametrize(
    ("images", "batch_size", "epochs", "warmup_steps"),
    [
        (64, 16, 500, 100),  # 4 steps an epoch
        (176, 16, 182, 100),
        (2880, 128, 91, 100),  # 22
        (48_000, 128, 20, 200),  # 375
    ],
)
def test_defaults_take_at_least_2000_steps(images: int, batch_size: int, epochs: int, warmup_steps: int) -> None:
    config = TrainConfig().for_images(images)
    assert (config.batch_size, config.epochs, config.warmup_steps) == (batch_size, epochs, warmup_steps)
    assert config.for_images(10 * images) == config  # resolved once


def test_numbers_that_are_given_stay() -> None:
    given = TrainConfig(epochs=3, batch_size=7, warmup_steps=0)
    assert given.for_images(1000) == given
    assert TrainConfig(batch_size=100).for_images(1000).epochs == 200


def test_an_unknown_recipe_is_named_with_those_there_are() -> None:
    assert {"demo", "emoji64", "fashion-mnist"} <= set(recipes.names())
    with pytest.raises(UserError, match=r"--recipe must be one of .*fashion-mnist.*, got fashion"):
        recipes.load("fashion")
    with pytest.raises(UserError, match=r"cannot read the recipe nowhere\.toml"):
        recipes.load("nowhere.toml")


@pytest.mark.parametrize("text", ["model = 1\n= 2", "x = " + "[" * 5_000])
def test_a_recipe_that_is_no_toml(text: str) -> None:
    with pytest.raises(UserError, match="mine is not valid TOML"):
        recipe_from_toml(text, "mine")
