"""The gallery shows each outlying image with its explanation."""

from typing import Any

import numpy as np
import pytest

from export.pictures import encode_png, reduce
from jobs.report.blocks import Cards, Scale, Section
from jobs.report.page import render_page
from jobs.report.sections.outliers import outlier_section
from jobs.report.sections.scores import score_head
from jobs.score.explain.explanation import Explanation, Neighbour
from jobs.score.explain.reasons import Aspect
from jobs.score.explain.write import Explained
from scored import SUMMARY

RANDOM = np.random.default_rng(0)


def explanations(count: int, shape: tuple[int, int, int] = (1, 28, 28), **more: Any) -> list[Explanation]:
    """Explanations of noise images with descending scores 9, 8, 7."""
    images = RANDOM.integers(0, 256, (count, 5, *shape), dtype=np.uint8)
    return [
        Explanation(
            rank=i + 1,
            row={"file": "data/a.parquet", "row": i, "outlier_score": 9.0 - i, "p_value": 0.002, **more},
            image=images[i, 0],
            reconstructed=images[i, 1],
            surprise=RANDOM.exponential(3, shape[1:]).astype(np.float32),
            contributions={"depth": 5.0, "glow": 4.0 - i},
            deviations={"depth": 5.0, "glow": 3.0},
            aspects=[
                Aspect("depth", 5.0, 5.0, "it is 5.0 σ deeper than usual"),
                Aspect("light", 4.0 - i, 3.0, "it glows"),
            ],
            nearest=[Neighbour(encode_png(reduce(image, 64)), 1.0, 2.0) for image in images[i, 2:]],
        )
        for i in range(count)
    ]


def gallery(section: Section) -> Cards:
    scale, cards = section.blocks
    assert isinstance(scale, Scale)
    assert isinstance(cards, Cards)
    return cards


def test_each_image_has_its_card() -> None:
    cards = gallery(outlier_section(Explained(8, 0, explanations(8)), SUMMARY))
    assert [card.headline for card in cards.items][:2] == ["score 9.000", "score 8.000"]
    assert cards.items[3].source == "row 3 · a.parquet"
    assert cards.caption.endswith("data/")
    assert [bool(card.badge) for card in cards.items] == [True] * 6 + [False] * 2  # scores above 3.5
    assert [len(card.pictures) for card in cards.items] == [len(card.others) for card in cards.items] == [3] * 8
    assert cards.items[0].reason == "It is 5.0\N{NO-BREAK SPACE}σ deeper than usual; it glows."


def test_bars_start_at_zero_and_are_proportional_to_contributions() -> None:
    for card in gallery(outlier_section(Explained(8, 0, explanations(8)), SUMMARY)).items:
        values = [float(bar.value.replace("−", "-")) for bar in card.bars]
        assert values == sorted(values, reverse=True)
        assert len(values) == 2
        lengths = [bar.right - bar.left for bar in card.bars]
        for bar, value, length in zip(card.bars, values, lengths, strict=True):
            assert 0 <= bar.left <= bar.right <= 100
            assert length / lengths[0] == pytest.approx(abs(value) / 5.0, abs=1e-3)
            assert card.zero == (bar.left if value >= 0 else bar.right)
            assert bar.style == ("out" if value >= 0 else "in")


def test_badges_are_omitted_if_every_card_would_have_one() -> None:
    section = outlier_section(Explained(3, 0, explanations(3)), SUMMARY)
    assert not any(card.badge for card in gallery(section).items)
    assert "all discoveries" in section.lead


def test_an_extrapolated_p_value_is_shown_if_present() -> None:
    modelled = {"p_value_tail": 3e-7, "p_value_tail_low": 2e-9, "p_value_tail_high": 1.4e-6}
    section = outlier_section(Explained(1, 0, explanations(1, **modelled)), SUMMARY)
    assert gallery(section).items[0].fact == "p = 0.0020, extrapolated 3e-07 (2e-09 to 1e-06)"


def test_phrases_of_a_bundle_are_escaped() -> None:
    (each,) = explanations(1)
    hostile = each._replace(aspects=[Aspect("<img src=x>", 9.0, 4.0, "<script>alert(1)</script>")])
    page = render_page(score_head("photos", SUMMARY), [outlier_section(Explained(1, 0, [hostile]), SUMMARY)])
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "<script>alert" not in page
    assert "<img src=x>" not in page


def test_missing_images_are_reported() -> None:
    assert (
        "2 images among them can no longer be read" in outlier_section(Explained(3, 2, explanations(3)), SUMMARY).lead
    )
    gone = outlier_section(Explained(0, 5, []), SUMMARY)
    assert gone.blocks == []
    assert "can no longer be read" in gone.lead
    assert "--explain is 0" in outlier_section(Explained(0, 0, []), SUMMARY).lead


@pytest.mark.parametrize(("shape", "limit"), [((1, 28, 28), 1.5), ((3, 64, 64), 6.0), ((3, 256, 256), 15.0)])
def test_a_full_gallery_of_incompressible_images_is_bounded(shape: tuple[int, int, int], limit: float) -> None:
    page = render_page(
        score_head("photos", SUMMARY), [outlier_section(Explained(48, 0, explanations(48, shape)), SUMMARY)]
    )
    assert len(page.encode()) < limit * 1e6
