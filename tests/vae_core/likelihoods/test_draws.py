"""Draws from p(x|z) follow the likelihood's own mean and probabilities."""

import numpy as np
import pytest
import torch

from vae_core.likelihoods import LikelihoodName, likelihood

ROWS = np.arange(20_000)


def drawn(name: LikelihoodName, raw: list[list[float]]) -> tuple[np.ndarray, dict[str, torch.Tensor]]:  # type: ignore[type-arg]
    family = likelihood(name)
    parameters = family.constrain(torch.tensor(raw, dtype=torch.float64)[:, None, :])
    repeated = {
        key: np.broadcast_to(value.numpy().astype(np.float32), (len(ROWS), *value.shape))
        for key, value in parameters.items()
    }
    return family.draw(repeated, ROWS, seed=3).astype(np.float64), parameters


@pytest.mark.parametrize(
    ("name", "raw"),
    [
        ("bernoulli", [[-2.0, 0.0, 3.0]]),
        ("continuous-bernoulli", [[-30.0, -2.0, 0.0, 1e-5, 3.0, 40.0]]),
        ("gaussian", [[-0.4, 0.0, 0.4], [-3.0, -2.0, -4.0]]),
        ("discretised-logistic", [[-1.5, 0.0, 2.5], [-1.0, -3.0, 0.0]]),
    ],
)
def test_the_mean_of_draws_is_the_likelihoods(name: LikelihoodName, raw: list[list[float]]) -> None:
    levels, parameters = drawn(name, raw)
    error = levels.std(0) / len(ROWS) ** 0.5 + 0.02  # rounding to levels shifts a density's mean a little
    if name == "discretised-logistic":
        error += 0.05
    exact = likelihood(name).mean(parameters).numpy()
    assert (np.abs(levels.mean(0) - exact) < 4 * error).all()


def test_levels_of_the_discretised_logistic_have_their_probabilities() -> None:
    levels, parameters = drawn("discretised-logistic", [[-1.9], [-1.0]])
    for level in (0, 1, 10, 40):
        p = likelihood("discretised-logistic").log_prob(torch.full((1, 1, 1), level).double(), parameters).exp().item()
        assert abs((levels == level).mean() - p) < 4 * (p * (1 - p) / len(ROWS)) ** 0.5


def test_a_draw_depends_on_its_row_and_seed_alone() -> None:
    family = likelihood("continuous-bernoulli")
    parameters = {"logits": np.zeros((3, 1, 4, 4), dtype=np.float32)}
    together = family.draw(parameters, np.array([7, 8, 9]), 0)
    alone = family.draw({"logits": parameters["logits"][:1]}, np.array([8]), 0)
    assert np.array_equal(together[1], alone[0])
    assert not np.array_equal(together[0], together[1])
    assert not np.array_equal(together, family.draw(parameters, np.array([7, 8, 9]), 1))
