from pathlib import Path

import pytest
import torch

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
