import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks.outliers.methods import likelihood, ours, path, regret
from benchmarks.outliers.methods.base import Trained
from benchmarks.outliers.settings import Family
from benchmarks.outliers.study import measure
from benchmarks.outliers.table import render
from bundles import SHAPE, pictures, trained
from jobs.evaluate.detection import auroc


def test_copod_is_the_largest_of_three_sums_of_tails() -> None:
    fitted = np.array([[1.0, -10.0], [2.0, -3.0], [3.0, -2.0], [9.0, -1.0]])  # skewed to the right and to the left
    # At (5, −5): F̂ = 4/5 and 2/5, 1 − F̂ = 2/5 and 4/5, each counted with the value itself.
    both = -np.log(4 / 5) - np.log(2 / 5)
    skewed = -np.log(2 / 5) - np.log(2 / 5)
    np.testing.assert_allclose(path.copod(fitted, np.array([[5.0, -5.0]])), [max(both, skewed)])


def test_copod_and_mahalanobis_rise_outwards_and_do_not_depend_on_the_batch() -> None:
    fitted = np.random.default_rng(0).normal(size=(500, 3)) * [1.0, 5.0, 0.1]
    outwards = np.linspace(0, 3, 7)[:, None] * [1.0, 5.0, 0.1]
    for combine in (path.copod, path.mahalanobis):
        scores = combine(fitted, outwards)
        assert np.all(np.diff(scores) > 0)
        np.testing.assert_allclose(combine(fitted, outwards[3:4]), scores[3:4])


def test_mahalanobis_of_whitened_values_is_their_norm() -> None:
    values = np.random.default_rng(1).normal(size=(400, 3))
    values -= values.mean(0)
    white = values @ np.linalg.inv(np.linalg.cholesky(np.cov(values, rowvar=False))).T
    skewed = white @ np.array([[2.0, 0.0, 0.0], [1.0, 1.0, 0.0], [0.0, 3.0, 0.5]]) + 7.0
    np.testing.assert_allclose(path.mahalanobis(skewed, skewed), np.linalg.norm(white, axis=1), rtol=1e-6)


@pytest.fixture(scope="module")
def subject(bundle: Path) -> Trained:
    model = copy.deepcopy(trained()).requires_grad_(False)
    # Any second bundle will do: here the first again.
    return Trained(model, str(bundle), pictures(300, seed=3), pictures(200, seed=1), seed=0, features=str(bundle))


@pytest.fixture(scope="module")
def families() -> dict[str, Family]:
    noise = np.random.default_rng(0).integers(0, 256, (60, *SHAPE), dtype=np.uint8)
    return {"final": Family(pictures(60, seed=4), {"noise": noise})}


METHODS = ours.METHODS | path.METHODS | likelihood.METHODS


@pytest.mark.parametrize("name", METHODS)
def test_a_method_ranks_noise_above_ordinary_images(name: str, subject: Trained, families: dict[str, Family]) -> None:
    result = measure(METHODS[name], subject, families)
    assert result["families"]["final"]["noise"]["auroc"] > 0.95
    assert result["images_per_second"] > 0


def test_both_families_are_the_sum_of_their_scores(subject: Trained, families: dict[str, Family]) -> None:
    images = families["final"].outliers["noise"]
    one, other, both = (ours.METHODS[name].fit(subject)(images) for name in ("ours", "features", "both"))
    np.testing.assert_allclose(both, one + other)


def test_regret_is_what_optimising_the_posterior_gains(subject: Trained, families: dict[str, Family]) -> None:
    ordinary, noise = families["final"].ordinary[:15], families["final"].outliers["noise"][:15]
    gains = regret.METHODS["regret"].fit(subject)(np.concatenate([ordinary, noise]))
    assert np.all(gains > 0)
    assert auroc(gains[:15], gains[15:]) > 0.95
    assert all(parameter.grad is None for parameter in subject.model.parameters())


def test_the_debiasing_table_is_the_mean_likelihood_of_a_level() -> None:
    """With the same parameters at every pixel it is that level's likelihood, whatever the images."""

    class Constant:
        config = trained().config
        likelihood = trained().likelihood

        def posterior(self, image: torch.Tensor) -> Any:
            return trained().posterior(image)

        def decode(self, z: torch.Tensor) -> dict[str, torch.Tensor]:
            shape = (len(z), *SHAPE)
            return {"location": torch.full(shape, 100.0), "log_scale": torch.full(shape, 2.0)}

    images = np.random.default_rng(0).integers(0, 256, (60, *SHAPE), dtype=np.uint8)
    table = likelihood.reached(Constant(), images)  # type: ignore[arg-type]
    constant = torch.ones((), dtype=torch.float64)
    parameters = {"location": 100.0 * constant, "log_scale": 2.0 * constant}
    exact = trained().likelihood.log_prob(torch.arange(256.0, dtype=torch.float64), parameters)
    np.testing.assert_allclose(table, exact[None].numpy(), rtol=1e-4)


def result(title: str, aurocs: dict[str, float], iterates: bool = False) -> dict[str, Any]:
    sets = {name: {"auroc": value, "fpr_at_95_tpr": 1 - value} for name, value in aurocs.items()}
    return {"title": title, "iterates": iterates, "images_per_second": 1234.0, "families": {"final": sets}}


def test_the_table_has_means_deviations_and_the_best_of_forward_passes() -> None:
    text = render(
        {
            "a": [result("A", {"x": 0.5, "y": 0.75}), result("A", {"x": 0.7, "y": 0.75})],
            "b": [result("B", {"x": 0.9, "y": 0.749}), result("B", {"x": 0.9, "y": 0.749})],
            "c": [result("C", {"x": 1.0, "y": 1.0}, iterates=True)] * 2,
        }
    )
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    assert rows[0] == "| | x | y | mean | images/s | seeds |"
    assert rows[1] == "| A | 0.600 ± 0.141 | **0.750 ± 0.000** | 0.675 ± 0.071 | 1,200 | 2 |"
    assert rows[2] == "| B | **0.900 ± 0.000** | **0.749 ± 0.000** | **0.825 ± 0.000** | 1,200 | 2 |"
    assert rows[3].startswith("| C † | 1.000 ± 0.000 | 1.000 ± 0.000 |")
    assert rows[5] == "| A | 40.0 ± 14.1 | **25.0 ± 0.0** | 32.5 ± 7.1 | 1,200 | 2 |"
