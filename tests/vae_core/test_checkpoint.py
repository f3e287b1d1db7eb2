import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from damage import changed_bytes, damaged
from vae_core import checkpoint
from vae_core.config import Optimiser
from vae_core.errors import UserError
from vae_core_steps import MODEL, batch, optimisation


@pytest.mark.parametrize("optimiser", ["adamw", "muon"])
def test_a_restored_run_continues_bit_for_bit(tmp_path: Path, optimiser: Optimiser) -> None:
    straight = optimisation(optimiser=optimiser)
    for step in range(6):
        straight.step(*batch(step))
    broken = optimisation(optimiser=optimiser)
    for step in range(3):
        broken.step(*batch(step))
    checkpoint.save(tmp_path / "ck", broken, {"epoch": 0, "step": 3})
    resumed = optimisation(seed=99, optimiser=optimiser)  # other initial weights, all of them replaced
    assert checkpoint.restore(checkpoint.load(tmp_path / "ck"), resumed) == {"epoch": 0, "step": 3}
    for step in range(3, 6):
        resumed.step(*batch(step))
    for a, b in zip(straight.model.parameters(), resumed.model.parameters(), strict=True):
        assert torch.equal(a, b)
    for a, b in zip(straight.average.parameters(), resumed.average.parameters(), strict=True):
        assert torch.equal(a, b)


def test_the_loaded_model_is_the_average(tmp_path: Path) -> None:
    training = optimisation()
    training.step(*batch(0))
    training.step(*batch(1))
    checkpoint.save(tmp_path / "ck", training, {})
    checkpoint.save(tmp_path / "ck", training, {"again": True})  # replaces
    model = checkpoint.load_model(checkpoint.load(tmp_path / "ck"))
    assert model.config == MODEL
    assert not model.training
    for a, b in zip(training.average.parameters(), model.parameters(), strict=True):
        assert torch.equal(a, b)
    assert [path.name for path in tmp_path.iterdir()] == ["ck"]


def test_another_models_checkpoint_is_refused(tmp_path: Path) -> None:
    checkpoint.save(tmp_path / "ck", optimisation(), {})
    with pytest.raises(UserError, match=r"latent_dim = 4, this run 5"):
        checkpoint.restore(checkpoint.load(tmp_path / "ck"), optimisation(latent_dim=5))


def test_a_directory_without_a_checkpoint_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no checkpoint"):
        checkpoint.load(tmp_path)


@pytest.fixture(scope="module")
def files() -> dict[str, bytes]:
    training = optimisation()
    training.step(*batch(0))
    return checkpoint.to_files(training, {"epoch": 0, "step": 1})


def refusal(files: dict[str, bytes]) -> str:
    """The sentence in which reading a checkpoint ends, or nothing."""
    said = ""
    for read in (checkpoint.load_model, lambda files: checkpoint.restore(files, optimisation())):
        try:
            read(files)
        except UserError as error:
            said = str(error)
            assert "\n" not in said
            assert len(said) < 1000
    return said


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_damage_ends_in_a_sentence(files: dict[str, bytes], data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(checkpoint.FILES))
    if name.endswith(".json") and data.draw(st.booleans()):
        refusal({**files, name: json.dumps(data.draw(damaged(json.loads(files[name])))).encode()})
    else:
        refusal({**files, name: data.draw(changed_bytes(files[name]))})


def _weights(change: Callable[[dict[str, torch.Tensor]], Any]) -> Callable[[dict[str, bytes]], dict[str, bytes]]:
    def changed(files: dict[str, bytes]) -> dict[str, bytes]:
        tensors = safetensors.torch.load(files["model.safetensors"])
        change(tensors)
        return {"model.safetensors": safetensors.torch.save(tensors)}

    return changed


def _head(**changes: Any) -> Callable[[dict[str, bytes]], dict[str, bytes]]:
    return lambda files: {"checkpoint.json": json.dumps({**json.loads(files["checkpoint.json"]), **changes}).encode()}


def _one(tensors: dict[str, torch.Tensor]) -> str:
    return next(name for name, value in tensors.items() if name.startswith("averaged.") and value.ndim > 1)


@pytest.mark.parametrize(
    "change",
    [
        _weights(lambda tensors: tensors.pop(_one(tensors))),
        _weights(lambda tensors: tensors.update({(name := _one(tensors)): tensors[name].flatten()[:1]})),
        _weights(lambda tensors: tensors.clear()),
        _head(steps_done=-1),
        _head(steps_done=10**400),
        _head(progress=[]),
        _head(model={"family": "conv", "image_shape": [4, 256, 256], "widths": [4096] * 6, "hidden": 65536}),
        _head(model=None),
    ],
    ids=[
        "one less",
        "one number for all",
        "none",
        "steps",
        "many steps",
        "no progress",
        "100 GB of weights",
        "no model",
    ],
)
def test_what_does_not_fit_is_refused(
    files: dict[str, bytes], change: Callable[[dict[str, bytes]], dict[str, bytes]]
) -> None:
    with pytest.raises(UserError):
        checkpoint.load_model({**files, **change(files)})
