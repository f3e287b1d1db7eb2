"""The evaluation report agrees with `metrics.json`."""

from typing import Any

import numpy as np
import pytest

from jobs.discoveries.histogram import Histogram
from jobs.report.blocks import Cards, Charts, Note, Table
from jobs.report.curves import RocCurve
from jobs.report.page import render_page
from jobs.report.sections.evaluation import (
    Shown,
    evaluation_head,
    false_alarm_section,
    histograms_section,
    missed_section,
    separation_section,
    statistics_section,
)
from jobs.report.sections.likelihood import TITLES, certificate_section, likelihood_figures, likelihood_section
from jobs.score.explain.explanation import Explanation
from jobs.score.explain.reasons import Aspect


def interval(value: float) -> dict[str, float]:
    return {"value": value, "low": value - 0.01, "high": min(1.0, value + 0.01)}


def outliers(area: float) -> dict[str, Any]:
    return {
        "rows": 500,
        "scored": 490,
        "tpr_at_fpr": interval(0.6),
        "compared": {"inliers": 1000, "outliers": 490, "prevalence": 0.3289},
        "outlier_score": {
            "auroc": interval(area),
            "average_precision": interval(0.95),
            "fpr_at_95_tpr": interval(0.123),
        },
        "statistics": {"kl": {"auroc": 0.2345, "auroc_two_sided": 0.7777}},
        "pixels": None,
    }


def estimate(mean: float, median: float) -> dict[str, Any]:
    return {
        "mean": mean,
        "standard_error": 5.3,
        "monte_carlo_standard_error": 0.4,
        "bias": -1.5,
        "bits_per_dim": {"mean": 3.4242, "standard_error": 0.011},
        "effective_samples": {"mean": 1.7, "median": median},
        "pareto_k": {"median": 0.62, "share_above_0.7": 0.25},
        "decodes": 4.0,
        "images": 300,
        "by_samples": [
            {"samples": size, "decodes": size, "mean": mean - 10 / size, "less_reference": -10 / size}
            for size in (1, 2, 4)
        ],
    }


def metrics(areas: dict[str, float], median: float = 1.2) -> dict[str, Any]:
    return {
        "images": {"scored": 1000, "false_positive_rate": interval(0.0123)},
        "fpr": 0.01,
        "outliers": {name: outliers(area) for name, area in areas.items()},
        "likelihood": {
            "images": 300,
            "of": 1000,
            "drawn": "at random",
            "samples": 4,
            "kind": "mass",
            "binarise": "none",
            "elbo": {"mean": -1882.4, "standard_error": 5.4, "monte_carlo_standard_error": 0.2}
            | {"images": 300, "decodes": 4},
            "reconstruction": {"mean": -1850.0, "standard_error": 5.4, "monte_carlo_standard_error": 0.2},
            "kl": {"mean": 32.4, "standard_error": 0.1},
            "reference": "importance",
            "importance": estimate(-1860.6, median),
            "monte_carlo": estimate(-2500.0, 50.0),
        },
        "certificate": None,
        "sample_quality": None,
        "calibration_images": 600,
        "bundle_hash": "abcdef0123456789",
    }


@pytest.mark.parametrize(
    ("areas", "title"),
    [
        ({"digits": 0.985}, "AUROC 0.9850 for digits"),
        ({"digits": 0.985, "noise": 0.91}, "AUROC at least 0.9100 on 2 sets of outliers, lowest on noise"),
        ({}, "−1,860.60 nats per image by importance sampling from the encoder"),
        ({"digits": 0.99999}, "AUROC 0.999990 for digits"),  # not rounded to 1
        ({"digits": 1.0}, "AUROC 1.0000 for digits"),
    ],
)
def test_the_head_states_the_main_result(areas: dict[str, float], title: str) -> None:
    head = evaluation_head("test.parquet", metrics(areas))
    assert head.title == title
    values = [figure.value for figure in head.figures.items]
    assert values[:2] == ["1,000", "1.2%"]
    assert {"−1,882.40", "−1,860.60", "3.424"} <= set(values)


def test_without_outliers_and_likelihood_the_head_states_the_false_positive_rate() -> None:
    head = evaluation_head("test", metrics({}) | {"likelihood": None})
    assert head.title == "1.2% of 1,000 images flagged"


def test_the_table_has_every_metric_with_its_interval() -> None:
    curves = [RocCurve(name, np.array([0.0, 1.0]), np.array([0.0, 1.0])) for name in "abcdefgh"]
    section = separation_section(metrics(dict.fromkeys("abcdefgh", 0.985)), curves)
    table, charts = section.blocks
    assert isinstance(table, Table)
    assert table.rows[0] == [
        *("a", "490", "0.9850 [0.9750, 0.9950]", "12% [11%, 13%]"),
        *("60% [59%, 61%]", "0.9500 [0.9400, 0.9600]", "33%"),
    ]
    assert isinstance(charts, Charts)
    assert [len(chart.keys) for chart in charts.items] == [6, 2]  # at most one curve per style


def test_the_likelihood_section_has_errors_and_a_warning() -> None:
    table, charts, note = likelihood_section(metrics({})["likelihood"]).blocks
    assert isinstance(table, Table)
    assert [row[1] for row in table.rows] == ["−1,882.40", "−1,850.00", "32.40", "−1,860.60", "−2,500.00"]
    assert table.rows[3][2:] == ["5.3", "0.40", "3.424", "1.70, median 1.20", "0.62, 25%", "−1.5", "300", "4"]
    assert isinstance(charts, Charts)
    assert len(charts.items) == 2
    assert isinstance(note, Note)
    assert "importance sampling from the encoder is a lower bound" in note.text
    assert len(likelihood_section(metrics({}, median=40.0)["likelihood"]).blocks) == 2
    score = likelihood_section(metrics({}, median=40.0)["likelihood"] | {"kind": "score"})
    assert "unnormalised score" in str(score.blocks[-1])
    drawn = likelihood_section(metrics({}, median=40.0)["likelihood"] | {"binarise": "dynamic"})
    assert "black and white images" in str(drawn.blocks[-1])


def test_every_likelihood_has_its_estimator_and_budget() -> None:
    found = metrics({})["likelihood"] | {
        "refined": estimate(-1830.0, 12.0)
        | {"images": 50, "decodes": 527.2, "gain_over": {"elbo": {"mean": 52.0, "standard_error": 1.2, "images": 50}}}
    }
    figures = likelihood_figures(found)
    assert [figure.value for figure in figures] == ["−1,882.40", "−1,830.00", "3.424"]
    assert "ELBO: 4 decodes for each of 300 images" in figures[0].meaning
    for figure in figures[1:]:
        assert "by refined importance sampling: 527 decodes for each of 50 images" in figure.meaning
    section = likelihood_section(found)
    assert "Refined importance sampling is 52.0 ± 1.2 nats above ELBO on the same 50 images." in str(section.blocks)
    for alone in ("elbo", "monte_carlo"):  # any one estimator makes a section
        few = {key: found[key] for key in ("images", "of", "drawn", "kind", "binarise", "reconstruction", "kl", alone)}
        assert alone in ("elbo",) or len(likelihood_section(few).blocks) == 1
        assert TITLES[alone] in str(likelihood_figures(few))


def test_the_certificate_states_both_bounds_and_the_budget() -> None:
    value = {"mean": -1900.0, "standard_error": 8.0}
    section = certificate_section(
        {
            "images": 5,
            "forward": value,
            "reverse": value,
            "gap": {"mean": 0.123, "standard_error": None, "root_mean_square": 0.2},
            "decodes": 40_000.4,
            "chains": 16,
            "temperatures": 100,
            "leapfrog_steps": 2,
            "acceptance": 0.65,
        }
    )
    (table,) = section.blocks
    assert isinstance(table, Table)
    assert table.rows[2] == ["Gap", "0.12", "–"]
    assert "16 chains each way over 100 distributions, each 2 leapfrog steps" in section.lead
    assert "40,000 decodes" in section.lead


def test_statistics_are_shown_raw_and_two_sided() -> None:
    section = statistics_section(metrics({"a": 0.9, "b": 0.8})["outliers"])
    assert section is not None
    (table,) = section.blocks
    assert isinstance(table, Table)
    assert table.rows == [["kl", "0.2345 · 0.7777", "0.2345 · 0.7777"], ["outlier_score", "0.9000", "0.8000"]]


def test_histograms_show_both_sets() -> None:
    rng = np.random.default_rng(0)
    edges = np.linspace(-5, 15, 400)
    inliers, outliers = (Histogram.empty(edges).add(rng.normal(m, 1, 500).astype(np.float32)) for m in (0, 4))
    (charts,) = histograms_section(inliers, {"digits": outliers, "noise": outliers}, 2.0, 0.01).blocks
    assert isinstance(charts, Charts)
    assert [[key.name for key in chart.keys] for chart in charts.items] == [
        ["inliers", "digits"],
        ["inliers", "noise"],
    ]


def shown(name: str, count: int) -> Shown:
    image = np.random.default_rng(0).integers(0, 256, (1, 28, 28), dtype=np.uint8)
    surprise = np.ones((28, 28), np.float32)
    aspect = Aspect("shape", 1.0, 3.0, "it is 3.0 σ larger than usual")
    rows = [{"file": "data/a.parquet", "row": row, "outlier_score": 1.0 + row, "p_value": 0.5} for row in range(count)]
    return Shown(
        name,
        [
            Explanation(i + 1, row, image, image, surprise, {"kl": 1.0}, {"kl": 3.0}, [aspect], [])
            for i, row in enumerate(rows)
        ],
    )


def test_galleries_name_their_sets_and_rows() -> None:
    section = missed_section([shown("digits", 3), shown("noise", 0), shown("letters", 1)])
    _, cards, nothing, others = section.blocks
    assert isinstance(cards, Cards)
    assert isinstance(others, Cards)
    assert (cards.title, [card.headline for card in cards.items][:2]) == ("digits", ["score 1.000", "score 2.000"])
    assert cards.items[1].source == "row 1 · a.parquet"
    assert [bool(each.reading) for each in (cards, others)] == [True, False]
    assert "noise: nothing to show" in str(nothing)
    page = render_page(evaluation_head("test", metrics({"digits": 0.9})), [section, false_alarm_section(shown("t", 2))])
    assert "<h3>digits</h3>" in page
