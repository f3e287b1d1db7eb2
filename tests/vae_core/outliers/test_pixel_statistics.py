import re
from pathlib import Path

import numpy as np
import pytest
import torch

import export
import jobs
import vae_core
from vae_core.latents import StandardNormal
from vae_core.likelihoods import LikelihoodName
from vae_core.models import seeded
from vae_core.models.conv.config import ConvConfig
from vae_core.outliers import pixel_statistics
from vae_core.outliers.groups import Statistic, statistics_of
from vae_core.outliers.pixel_statistics import pixel_groups, pixel_surprise


def config(likelihood: LikelihoodName = "discretised-logistic") -> ConvConfig:
    return ConvConfig(image_shape=(1, 12, 12), latent_dim=4, widths=(8, 8), hidden=16, likelihood=likelihood)


MODEL = seeded(config(), 0).eval()


def tell(image: torch.Tensor) -> dict[str, torch.Tensor]:
    with torch.inference_mode():
        return MODEL.statistics({"image": image})


def test_statistics_match_their_definitions_in_float64() -> None:
    generator = np.random.default_rng(0)
    image = generator.integers(0, 256, (5, 1, 12, 12), dtype=np.uint8)
    image[1, 0, 3:9, 2:7] = 0
    image[2, 0, 4:9, 4:9] = 255
    image[3, 0, :, 3:9] = 77
    found = tell(torch.from_numpy(image))
    with torch.inference_mode():
        decoded = MODEL.decode(MODEL.posterior({"image": torch.from_numpy(image)}).mean)
    parameters = {name: value.double() for name, value in decoded.items()}
    x = image.astype(np.float64)
    y = MODEL.likelihood.mean(parameters).numpy()
    peak = MODEL.likelihood.log_peak(parameters).numpy()
    surprise = peak - MODEL.likelihood.log_prob(torch.from_numpy(x), parameters).numpy()
    axes = (1, 2, 3)

    def gradient_energy(values: np.ndarray, order: int) -> np.ndarray:
        parts = [np.diff(values, order, axis) for axis in (2, 3)]
        return np.asarray(sum((part**2).sum(axes) for part in parts) / 144)

    down, across = (np.diff(x, axis=axis) == 0 for axis in (2, 3))
    expected = {
        "best_reconstruction": peak.sum(axes),
        "log_surprise": np.log1p(surprise.sum(axes)),
        "log_peak_surprise": np.log1p(surprise.max(axes)),
        "log_error": np.log(((x - y) ** 2).mean(axes) + 1 / 12),
        "log_absolute_error": np.log(np.abs(x - y).mean(axes) + 0.25),
        "log_peak_error": np.log(np.abs(x - y).max(axes) + 0.5),
        "log_relative_error": np.log((((x - y) ** 2).mean(axes) + 1 / 12) / (gradient_energy(x, 1) + 1 / 12)),
        "log_error_curvature": np.log(gradient_energy(x - y, 2) + 1 / 12),
        "log_roughness": np.log(gradient_energy(x, 1) + 1 / 12),
        "log_curvature": np.log(gradient_energy(x, 2) + 1 / 12),
        "log_reconstructed_roughness": np.log(gradient_energy(y, 1) + 1 / 12),
        "black": (x == 0).mean(axes),
        "white": (x == 255).mean(axes),
        "flat": ((down & (x[:, :, 1:] > 0)).sum(axes) + (across & (x[:, :, :, 1:] > 0)).sum(axes)) / 144,
    }
    for name, value in expected.items():
        np.testing.assert_allclose(found[name].numpy(), value, rtol=1e-4, atol=1e-5, err_msg=name)


@pytest.mark.parametrize("channels", [3, 4])
def test_black_white_and_flat_count_pixels_and_not_their_channels(channels: int) -> None:
    """An orange flower has zeros and 255s in its channels, but no black and no white."""
    model = seeded(ConvConfig(image_shape=(channels, 8, 8), latent_dim=2, widths=(4,), hidden=4), 0).eval()
    noise = np.random.default_rng(0).integers(1, 255, (1, channels, 8, 8), dtype=np.uint8)
    orange, mixed = noise.copy(), noise.copy()
    orange[0, :3, 2:6, 2:6] = np.array([255, 128, 0], np.uint8)[:, None, None]
    mixed[0, :3, :2] = 0
    mixed[0, :3, 5, :4] = 255
    with torch.inference_mode():
        found = model.statistics({"image": torch.from_numpy(np.concatenate([orange, mixed]))})
    np.testing.assert_allclose(found["black"].numpy(), [0, 16 / 64])
    np.testing.assert_allclose(found["white"].numpy(), [0, 4 / 64])
    np.testing.assert_allclose(found["flat"].numpy(), [24 / 64, 3 / 64])  # 2 · 4 · 3 pairs in a square of 4×4


def test_statistics_are_finite_for_every_kind_of_image() -> None:
    generator = torch.Generator().manual_seed(0)
    image = torch.stack(
        [torch.full((1, 12, 12), k) for k in (0, 1, 128, 255)]
        + [torch.randint(0, 256, (1, 12, 12), generator=generator)]
    ).to(torch.uint8)
    with torch.inference_mode():
        posterior = MODEL.posterior({"image": image})
        log_px_z = MODEL.log_px_z({"image": image}, posterior.mean)
    values = tell(image)
    assert all(torch.isfinite(v).all() for v in values.values())
    torch.testing.assert_close(values["kl"], StandardNormal(4).kl(posterior))
    torch.testing.assert_close(values["mean"], posterior.mean)
    torch.testing.assert_close(values["reconstruction"], log_px_z)


def test_an_image_is_scored_alone() -> None:
    image = torch.randint(0, 256, (6, 1, 12, 12), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    together, alone = tell(image), tell(image[2:3])
    for name, value in alone.items():
        torch.testing.assert_close(together[name][2:3], value, rtol=1e-5, atol=1e-5)


def test_what_is_computed_is_what_is_described() -> None:
    found = tell(torch.zeros(3, 1, 12, 12, dtype=torch.uint8))
    described = [value.name for group in MODEL.statistic_groups for value in group.inputs]
    assert list(found) == described
    for group in MODEL.statistic_groups:
        assert all(found[value.name].shape[1:] == (() if group.vector is None else (4,)) for value in group.inputs)


@pytest.mark.parametrize("statistic", statistics_of(pixel_groups(1.0)), ids=lambda each: each.name)
def test_every_statistic_has_a_phrase_for_both_directions(statistic: Statistic) -> None:
    assert statistic.high != statistic.low
    assert statistic.high.count("{}") == statistic.low.count("{}") == 1


def test_differences_of_log_densities_are_relative_to_a_nat_per_pixel() -> None:
    """Their sum may be near zero while its rounding error is not."""
    mass, density = (
        {each.name: each.scale for each in statistics_of(seeded(config(kind), 0).statistic_groups)}
        for kind in ("discretised-logistic", "gaussian")
    )
    assert set(mass.values()) == {1.0}
    assert {name for name, scale in density.items() if scale == 144.0} == {"reconstruction", "best_reconstruction"}


def test_no_other_module_names_a_statistic() -> None:
    """Except for two that are also terms of the ELBO."""
    names = {each.name for each in statistics_of(pixel_groups(1.0))} - {"kl", "reconstruction"}
    here = Path(pixel_statistics.__file__)
    modules = [path for package in (vae_core, export, jobs) for path in Path(package.__path__[0]).rglob("*.py")]
    quoted = {path: set(re.findall(r"[\"']([a-z_]+)[\"']", path.read_text())) for path in modules}
    assert [path for path, strings in quoted.items() if strings & names] == [here]


def test_the_tolerance_of_surprise_covers_a_rounding_that_all_pixels_share() -> None:
    """A network rounds equal pixels alike: a shift of all parameters by some float32 steps adds up over the image."""
    tolerance = next(each.tolerance for each in statistics_of(pixel_groups(784.0)) if each.name == "log_surprise")
    raw = torch.from_numpy(np.random.default_rng(0).normal(0.0, 3.0, (500, 2, 1, 1))).expand(500, 2, 28, 28)
    level = torch.zeros(500, 1, 28, 28, dtype=torch.float64)
    exact, rounded = (
        torch.log1p(pixel_surprise(MODEL.likelihood, level, MODEL.likelihood.constrain(values)).sum((1, 2, 3)))
        for values in (raw, raw * (1 + 16 * torch.finfo(torch.float32).eps))
    )
    error = ((rounded - exact).abs() / exact.clamp(min=1.0)).max()
    assert 1e-5 < error < tolerance
