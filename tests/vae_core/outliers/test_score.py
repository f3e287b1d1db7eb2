import torch
from torch.distributions import MultivariateNormal
from torch.nn import functional as F

from vae_core.outliers.density import LIMIT, Density
from vae_core.outliers.groups import Group, Statistic, statistics_of
from vae_core.outliers.score import OutlierModel, Tails, explain, score
from vae_core.outputs import Output

LATENTS = 5
LEAST, USUAL, SPREAD = 0.5, 2.5, 0.5


def a_statistic(name: str) -> Statistic:
    return Statistic(name, name, "1", "looks", "{} too high", "{} too low")


# Two groups of scalars and two of vectors, so that none is special.
GROUPS = tuple(
    Group(name, name, weight, tuple(map(a_statistic, names)), 1e-2, 1e-2, vector and Output(vector, vector, "1"))
    for name, weight, names, vector in [
        ("tone", 2.0, ("brightness", "contrast", "black"), None),
        ("code", 1.0, ("log_code",), "code"),
        ("texture", 0.5, ("roughness", "grain"), None),
        ("colour", 0.25, ("log_colour",), "chroma"),
    ]
)
SCALARS = [value.name for group in GROUPS if group.vector is None for value in group.inputs]
VECTORS = {"code": LATENTS, "chroma": 2}
NAMES = [statistic.name for statistic in statistics_of(GROUPS)]


def standard_normal_density(size: int) -> Density:
    return Density(
        centre=torch.zeros(size),
        scale=torch.ones(size),
        knees=torch.tensor([[-LIMIT], [LIMIT]]).expand(2, size),
        slopes=torch.ones(2, size),
        log_weight=torch.zeros(1),
        mean=torch.zeros(1, size),
        whitening=torch.eye(size)[None],
        deviation=torch.ones(1, size),
        least=torch.tensor(LEAST),
        log_square=torch.tensor([1.0, 0.5]),
        usual=torch.tensor(USUAL),
        spread=torch.tensor(SPREAD),
    )


MODEL = OutlierModel(
    GROUPS,
    {g.name: standard_normal_density(VECTORS[g.vector.name] if g.vector else len(g.statistics)) for g in GROUPS},
)


def values(count: int, **given: torch.Tensor) -> dict[str, torch.Tensor]:
    """A model's values for images at the centre of every density, except for those given."""
    zeros = {name: torch.zeros(count) for name in SCALARS}
    return zeros | {name: torch.zeros(count, size) for name, size in VECTORS.items()} | given


def random_values(count: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {name: 2 * torch.randn(each.shape, generator=generator) for name, each in values(count).items()}


def test_the_score_is_the_weighted_sum_of_surprises_in_float64() -> None:
    drawn = random_values(50)
    expected = torch.zeros(50, dtype=torch.float64)
    for group in GROUPS:
        columns = torch.stack([drawn[s.name] for s in group.statistics], 1) if group.vector is None else None
        vectors = (drawn[group.vector.name] if group.vector else columns).double()  # type: ignore[union-attr]
        size = vectors.shape[1]
        normal = MultivariateNormal(torch.zeros(size).double(), torch.eye(size).double())
        distance = (1 + 2 * (-normal.log_prob(vectors) - LEAST)).sqrt()
        expected += group.weight * F.softplus((distance - USUAL) / SPREAD)
    torch.testing.assert_close(score(drawn, MODEL)["outlier_score"].double(), expected, rtol=1e-5, atol=1e-6)


def test_every_statistic_comes_before_the_score_and_scalars_are_passed_on() -> None:
    drawn = random_values(4)
    found = score(drawn, MODEL)
    assert list(found) == [*NAMES, "outlier_score"]
    for name in SCALARS:
        assert found[name] is drawn[name]
    # The statistic of a vector is its log density: of N(0, I), at its mode, −½ D log 2π.
    torch.testing.assert_close(score(values(1), MODEL)["log_code"], torch.full((1,), -0.5 * LATENTS * 1.8378771))


def test_the_score_is_two_sided_in_every_number() -> None:
    usual = score(values(1), MODEL)["outlier_score"]
    for sign in (-12.0, 12.0):
        for name in SCALARS:
            assert score(values(1, **{name: torch.tensor([sign])}), MODEL)["outlier_score"] > usual + 1, name
        for name, size in VECTORS.items():
            assert (score(values(size, **{name: sign * torch.eye(size)}), MODEL)["outlier_score"] > usual + 1).all()


def test_contributions_sum_to_the_score_and_name_the_culprit() -> None:
    drawn = random_values(40)
    for row, name in enumerate(SCALARS):
        drawn[name][row] = 30.0
    found = explain(drawn, MODEL)
    assert found.contributions.shape == found.deviations.shape == (40, len(NAMES))
    torch.testing.assert_close(found.contributions.sum(1), score(drawn, MODEL)["outlier_score"])
    culprits = [NAMES[i] for i in found.contributions[: len(SCALARS)].argmax(1)]
    assert culprits == SCALARS
    for name in SCALARS:
        torch.testing.assert_close(found.deviations[:, NAMES.index(name)], drawn[name])


def test_an_unlikely_vector_is_explained_by_its_log_density() -> None:
    found = explain(values(2, code=torch.tensor([[0.0], [6.0]]).expand(2, LATENTS)), MODEL)
    place = NAMES.index("log_code")
    assert found.contributions[1, place] > 10 > found.contributions[0, place]
    assert found.deviations[1, place] < -10  # the density is too low


ONE_SIDED = Group("places", "places", 2.0, (a_statistic("peak"), a_statistic("mean")), measure="tails")
TAILS = Tails(torch.tensor([1.0, 2.0]), torch.tensor([0.5, 0.25]), torch.tensor([1.0, 0.5]))


def test_a_group_of_tails_is_the_mean_of_its_tails() -> None:
    model = OutlierModel((ONE_SIDED,), {"places": TAILS})
    drawn = {name: torch.linspace(-20, 20, 9) for name in ("peak", "mean")}
    found = score(drawn, model)["outlier_score"]
    torch.testing.assert_close(found, F.softplus((drawn["peak"] - 1) / 0.5) + F.softplus((drawn["mean"] - 2) / 0.25))
    assert found[0] < 1e-6  # a low value is not outlying
    explained = explain(drawn, model)
    torch.testing.assert_close(explained.contributions.sum(1), found)
    torch.testing.assert_close(explained.deviations[:, 1], (drawn["mean"] - 2) / 0.5)
