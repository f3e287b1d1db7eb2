import torch

from vae_core.outliers.density import Density
from vae_core.outliers.score import NAMES, OutlierModel, explain, judge
from vae_core.outliers.statistics import Statistics

SIZE, LATENTS = len(Statistics._fields), 5


def standard_normal_density(size: int) -> Density:
    return Density(
        centre=torch.zeros(size),
        scale=torch.ones(size),
        log_weight=torch.zeros(1),
        mean=torch.zeros(1, size),
        whitening=torch.eye(size)[None],
        deviation=torch.ones(1, size),
        usual=torch.tensor(0.5 * size * 2.8),
        spread=torch.tensor(3.0),
    )


MODEL = OutlierModel(standard_normal_density(SIZE), standard_normal_density(LATENTS))


def statistics(rows: torch.Tensor) -> Statistics:
    return Statistics(*rows.unbind(1))


def test_the_score_is_two_sided_in_every_statistic_and_in_the_code() -> None:
    usual = judge(statistics(torch.zeros(1, SIZE)), torch.zeros(1, LATENTS), MODEL).outlier_score
    for sign in (-1.0, 1.0):
        odd = judge(statistics(8 * sign * torch.eye(SIZE)), torch.zeros(SIZE, LATENTS), MODEL).outlier_score
        assert (odd > usual + 1).all()
        code = judge(statistics(torch.zeros(LATENTS, SIZE)), 8 * sign * torch.eye(LATENTS), MODEL).outlier_score
        assert (code > usual + 1).all()


def test_contributions_sum_to_the_score_and_name_the_culprit() -> None:
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(40, SIZE, generator=generator)
    rows[torch.arange(SIZE), torch.arange(SIZE)] = 9.0
    code = torch.randn(40, LATENTS, generator=generator)
    found = explain(statistics(rows), code, MODEL)
    assert found.contributions.shape == found.deviations.shape == (40, len(NAMES))
    score = judge(statistics(rows), code, MODEL).outlier_score
    torch.testing.assert_close(found.contributions.sum(1), score)
    assert (found.contributions[:SIZE].argmax(1) == torch.arange(SIZE)).all()
    torch.testing.assert_close(found.deviations[:, :SIZE], rows)


def test_an_unlikely_code_is_told_by_the_aggregate_posterior() -> None:
    code = torch.cat([torch.zeros(1, LATENTS), torch.full((1, LATENTS), 6.0)])
    found = explain(statistics(torch.zeros(2, SIZE)), code, MODEL)
    assert NAMES[-1] == "log_aggregate_posterior"
    assert found.contributions[1, -1] > 10 > found.contributions[0, -1]
    assert found.deviations[1, -1] < -10  # the density is too low
