"""The parts of benchmarks/photographs that need no pretrained network."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks.photographs import elsewhere, handmade, kinds, ours
from benchmarks.photographs.detector import Calibrated, Training
from benchmarks.photographs.front import ahead, front, points
from benchmarks.photographs.measure import aurocs, paired_difference, resampled
from benchmarks.photographs.patches import k_center
from benchmarks.photographs.plot import plot
from benchmarks.photographs.settings import write_images
from benchmarks.photographs.tables import render
from jobs.demo.defects import KINDS, Kind, draw
from jobs.evaluate.detection import auroc
from vae_core.errors import UserError


def textures(number: int, seed: int = 0) -> np.ndarray:
    generator = np.random.default_rng(seed)
    y, x = np.mgrid[:32, :32]
    waves = np.sin(0.8 * x + generator.uniform(0, 6, (number, 1, 1, 1))) + np.sin(0.5 * y)
    return np.rint(128 + 30 * waves + 5 * generator.standard_normal((number, 1, 32, 32))).astype(np.uint8)


def test_k_center_always_takes_the_farthest() -> None:
    points = torch.randn(2000, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    chosen = k_center(points, 700)
    nearest = (points - points[0]).square().sum(1)
    for pick in chosen[1:]:
        assert nearest[pick] == pytest.approx(float(nearest.max()), rel=1e-9)
        nearest = torch.minimum(nearest, (points - points[pick]).square().sum(1))


@pytest.mark.parametrize("kind", KINDS)
def test_a_defect_changes_what_its_mask_marks_and_more_with_contrast(kind: Kind) -> None:
    images = textures(20)
    changes = []
    for contrast in (0.0, 0.3, 1.0):
        drawn = draw(kind, images, contrast, seed=3)
        change = np.abs(drawn.images.astype(int) - images)[:, 0]
        changes.append(change[drawn.masks].mean())
        # Outside the mask less than a tenth of the effect remains: of a scratch's 120 levels, or a stain's 153.
        assert change[~drawn.masks].max() <= 16
        assert drawn.masks.any((1, 2)).all()
    assert changes[0] == 0
    assert 0 < changes[1] < changes[2]


def test_conformal_p_values_count_calibration_scores_that_are_as_high() -> None:
    detector = Calibrated(lambda images: (images[:, 0, 0, 0].astype(float), None), images_of([10, 20, 20, 40]))
    p_values = detector.score(images_of([5, 20, 30, 50])).p_value
    np.testing.assert_allclose(p_values, np.array([5, 4, 2, 1]) / 5)


def images_of(levels: list[int]) -> np.ndarray:
    return np.array(levels, np.uint8)[:, None, None, None]


def result(inliers: list[float], outliers: list[float]) -> dict[str, Any]:
    return {
        "note": "",
        "test": {"score": inliers, "p_value": [0.5] * len(inliers)},
        "odd": {"scratch": {"score": outliers, "p_value": [0.01] * len(outliers)}},
        "pixels": {},
    }


def test_the_paired_difference_of_equal_scores_is_zero_and_its_interval_holds_the_value() -> None:
    generator = np.random.default_rng(0)
    inliers, outliers = generator.normal(0, 1, 100), generator.normal(1.5, 1, 60)
    ours, worse = result(inliers.tolist(), outliers.tolist()), result(inliers.tolist(), (outliers - 0.5).tolist())
    assert paired_difference([ours], [ours]) == (0.0, 0.0, 0.0)
    value, low, high = paired_difference([ours], [worse])
    assert value == pytest.approx(auroc(inliers, outliers) - auroc(inliers, outliers - 0.5))
    assert 0 < low < value < high


def test_bootstrap_samples_scatter_around_the_auroc_as_its_formula_says() -> None:
    """Hanley and McNeil 1982: the standard error of an AUROC."""
    generator = np.random.default_rng(0)
    n, m = 150, 80
    each = result(generator.normal(0, 1, n).tolist(), generator.normal(1, 1, m).tolist())
    value, drawn = float(aurocs(each)[0]), resampled([each])
    q1, q2 = value / (2 - value), 2 * value**2 / (1 + value)
    error = np.sqrt((value * (1 - value) + (m - 1) * (q1 - value**2) + (n - 1) * (q2 - value**2)) / (n * m))
    assert drawn.mean() == pytest.approx(value, abs=4 * error / np.sqrt(len(drawn)))
    assert drawn.std() == pytest.approx(error, rel=0.2)


def timed(outliers: list[float], speed: float | None) -> list[dict[str, Any]]:
    return [result([0.0, 0.5, 1.0, 1.5] * 10, outliers * 10) | {"images_per_second": speed}]


def test_the_front_is_of_methods_that_no_other_beats_in_speed_and_auroc() -> None:
    by_method = {
        "slow and best": timed([2.0, 3.0], 10),
        "fast": timed([1.2, 1.2], 1000),
        "beaten": timed([0.2, 1.2], 100),
        "of an older version": timed([2.0, 3.0], None),
    }
    known = points(by_method)
    assert [point.method for point in known] == ["fast", "beaten", "slow and best"]
    assert [point.method for point in front(known)] == ["fast", "slow and best"]
    assert [point.method for point in ahead(known[1], known)] == ["fast"]
    assert ahead(known[2], known) == []


def test_the_plot_of_the_same_results_is_the_same_file(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    methods = handmade.METHODS
    results = {"brick64": {name: timed([1.2, 2.0], 100.0 + n) for n, name in enumerate(methods)}}
    files = [tmp_path / name for name in ("a.svg", "b.svg")]
    for file in files:
        plot(file, results, methods, ours=())
    assert files[0].read_bytes() == files[1].read_bytes()


def test_ours_and_hand_made_features_find_a_plain_defect(tmp_path: Path) -> None:
    """With the code of `vae train` and `vae export`, hence the seconds that it takes."""
    write_images(tmp_path / "training.parquet", textures(200))
    training = Training((str(tmp_path / "training.parquet"),), 0, tmp_path)
    assert len(training.fitting) + len(training.calibration) == 200
    odd = draw("stain", textures(40, seed=2), 1.0, seed=0)
    for methods, name in ((ours.METHODS, "bank"), (handmade.METHODS, "handmade")):
        detector = methods[name].fit(training)
        ordinary, scored = detector.score(textures(40, seed=1)), detector.score(odd.images)
        assert auroc(ordinary.score, scored.score) > 0.95
        if scored.maps is not None:
            assert auroc(scored.maps[~odd.masks], scored.maps[odd.masks]) > 0.9


def test_the_table_has_a_line_for_each_method() -> None:
    seeds = [result([0.0, 1.0], [0.5, 2.0]), result([0.0, 1.0], [3.0, 2.0])]
    lines = render({"brick64": {"handmade": seeds}}, handmade.METHODS).splitlines()
    assert lines[2] == "| | scratch | mean | found | false | images/s | seeds |"
    assert lines[4].endswith("| 0.875 | 0.8750 ± 0.1768 | 100.0% | 0.0% |  | 2 |")


def test_more_kinds_have_a_line_each() -> None:
    results = {"photos64-kinds": {"handmade": [result([0.0, 1.0], [0.5, 2.0])]}}
    assert render(results, handmade.METHODS).splitlines()[4:9] == [
        "| scratch | 0.750 |",
        "| mean | 0.7500 |",
        "| found | 100.0% |",
        "| false | 0.0% |",
        "| seeds | 1 |",
    ]


@pytest.mark.parametrize("name", kinds.CHANGES)
def test_every_kind_changes_an_image_beyond_saving_it(name: str) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (kinds.SIDE, kinds.SIDE, 3)).astype(np.uint8)
    changed = kinds.CHANGES[name](picture.copy(), np.random.default_rng(1))
    assert changed.shape == picture.shape
    assert (np.abs(changed.astype(float) - picture).max(2) > 10).sum() >= kinds.SIDE


def test_crops_from_elsewhere_touch_no_training_region(tmp_path: Path) -> None:
    level = np.zeros((100, 200, 3), np.uint8)
    level[:, round(elsewhere.TRAINED * 200) :] = 200
    for _, name in elsewhere.PHOTOGRAPHS:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(level).save(tmp_path / name, quality=100)
    crops = elsewhere.crops(tmp_path, 20)
    assert crops.shape == (20 * len(elsewhere.PHOTOGRAPHS), 3, kinds.SIDE, kinds.SIDE)
    assert crops.min() > 190


def test_a_folder_without_the_photographs_is_refused_with_the_package(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"unpack Debian's plasma-workspace-wallpapers there"):
        elsewhere.crops(tmp_path, 1)
