"""The benchmarks of samples: degradations are found, and the plot of the same figures is the same file."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks import quality_spaces, sample_quality, temperature
from benchmarks.sample_quality import Line, Measure, Split, measure
from image_files import pictures
from jobs.evaluate.quality.compare import Quality


def test_halves_are_disjoint_and_every_degradation_is_seen() -> None:
    test = np.random.default_rng(0).integers(0, 256, (1800, 1, 6, 6), dtype=np.uint8)
    split = Split.of(test, 600)
    assert not {image.tobytes() for image in split.real} & {image.tobytes() for image in split.others}
    space = quality_spaces.component_space(split)
    sets = dict(quality_spaces.degraded(test[:600]))
    assert all(images.shape == (600, 1, 6, 6) and images.dtype == np.uint8 for images in sets.values())
    lines = measure({"components": Measure(split, space)}, iter(sets.items()))["components"]
    assert lines[0].ratio == 1.0
    ratios = {line.name: line.ratio for line in lines}
    assert ratios["copies of 20"] > ratios["copies of 100"] > 1
    assert ratios["blur σ = 1.2 pixels"] > ratios["blur σ = 0.6 pixels"] > 1
    with pytest.raises(AssertionError, match="2,000 test images are needed, got 1,800"):
        Split.of(test, 1000)


def test_a_mosaic_has_every_image_in_its_place() -> None:
    images = pictures(sample_quality.SIDE**2, (3, 5, 4))
    mosaic = sample_quality._mosaic(images)
    assert mosaic.shape == (sample_quality.SIDE * 5, sample_quality.SIDE * 4, 3)
    assert np.array_equal(mosaic[5:10, 8:12], images[sample_quality.SIDE + 2].transpose(1, 2, 0))


def test_the_plot_of_the_same_figures_is_the_same_file(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    line = Line("", Quality(2.0, 0.9, 0.8, 1.0, 0.9), 1.5, 1.0)
    curves = {(prior, kind): {0.8: line, 1.0: line} for prior in ("plain", "causal") for kind in ("means", "draws")}
    for name in ("a.svg", "b.svg"):
        temperature.plot(tmp_path / name, curves, line)
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
