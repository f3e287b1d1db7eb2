"""Reviews of calibration images: what is removed, what is refused, and what p-values are then worth."""

from pathlib import Path

import numpy as np
import pytest

from bundles import pictures
from export.bundle.format import CARD, Bundle
from export.guarantees.p_values import p_values
from image_files import LAYOUTS, write_parquet
from jobs.calibrate.job import calibrate
from jobs.calibrate.options import CalibrateOptions
from jobs.calibrate.review import Review, describe_review
from jobs.images.listed import Listed
from jobs.inspect.facts import of_bundle
from jobs.report.blocks import Note
from jobs.report.sections.guarantees import guarantee_section
from scored import SUMMARY
from vae_core.errors import UserError

OUTLIERS = (3, 70, 71, 119)  # rows


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> str:
    """120 blobs, four of them inverted."""
    found = pictures(120, seed=21)
    found[list(OUTLIERS)] = 255 - found[list(OUTLIERS)]
    source = tmp_path_factory.mktemp("images") / "mixed.parquet"
    return write_parquet(source, *LAYOUTS["packed"](found), row_group_size=50, kind=[str(i % 2) for i in range(120)])


def run(bundle: Path, images: str, output: Path, review: str | None = None, judged: int | None = None) -> Bundle:
    if review is not None:
        (output.parent / "list.csv").write_text(review)
        review = str(output.parent / "list.csv")
    return calibrate(
        CalibrateOptions(
            bundle=str(bundle),
            images=(images,),
            output=str(output),
            per_class="kind",
            review=review,
            judged=judged,
        )
    )


def outliers(images: str, rows: tuple[int, ...] = OUTLIERS) -> str:
    return "\n".join(["score,file,row", *(f"1.0,{images},{row}" for row in rows)])


def test_the_outliers_are_removed_and_nothing_else(
    tmp_path: Path, bundle: Path, images: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = run(bundle, images, tmp_path / "mixed")
    capsys.readouterr()
    after = run(bundle, images, tmp_path / "reviewed", outliers(images), judged=10)
    # The four inverted blobs have the highest scores, by far.
    assert after.calibration.equals(before.calibration.slice(0, 116))
    assert after.manifest["calibration"]["images"] == 116
    assert after.manifest["calibration"]["reviewed"] == {"judged": 10, "removed": 4}
    assert "of the 10 highest scores, 4 were judged outliers and removed" in after.read(CARD).decode()
    assert of_bundle(str(tmp_path / "reviewed"))["calibration reviewed"] == "4 of the 10 highest scores removed"
    said = capsys.readouterr().out
    assert "calibrated on 116 images" in said
    assert "4 outliers removed of the 10 highest scores; p-values up to 0.051 count judged images only" in said
    assert "reviewed" not in before.manifest["calibration"]


def test_a_review_that_finds_nothing_is_a_review(tmp_path: Path, bundle: Path, images: str) -> None:
    after = run(bundle, images, tmp_path / "out", "file,row\n", judged=1000)
    assert after.manifest["calibration"]["reviewed"] == {"judged": 120, "removed": 0}
    assert len(after.calibration) == 120


def test_images_beyond_the_judged_are_refused(tmp_path: Path, bundle: Path, images: str) -> None:
    with pytest.raises(UserError, match=r"among the --judged 3 images .* row .*, which 3 images score above"):
        run(bundle, images, tmp_path / "out", outliers(images), judged=3)
    with pytest.raises(UserError, match=r"line 2 of .* must give a row"):
        run(bundle, images, tmp_path / "out", outliers(images, (120,)), judged=3)
    assert not (tmp_path / "out").exists()


def test_both_options_are_needed() -> None:
    for given in ({"review": "x.csv"}, {"judged": 10}):
        with pytest.raises(UserError, match="--review and --judged must be given together"):
            CalibrateOptions(bundle="b", images=("i",), output="o", **given)
    with pytest.raises(UserError, match="--judged must be at least 1, got 0"):
        CalibrateOptions(bundle="b", images=("i",), output="o", review="x.csv", judged=0)


def test_equal_scores_share_their_rank() -> None:
    scores = np.array([1, 5, 5, 5, 0], np.float32)
    found = np.array([-1, -1, 0, -1, -1])
    assert Review((Listed("a", 2),), 1).kept(scores, found).tolist() == [True, True, False, True, True]
    with pytest.raises(UserError, match="which 3 images score above"):
        Review((Listed("a", 0),), 3).kept(scores, np.array([0, -1, -1, -1, -1]))


@pytest.mark.parametrize("judged", [0, 5, 20, 60, 200])
def test_p_values_are_those_among_the_inliers_within_the_factor_that_is_promised(judged: int) -> None:
    """The inequality of the module's docstring, and where only judged images count, without any tolerance."""
    rng = np.random.default_rng(judged)
    for _ in range(50):
        inliers, outliers = rng.normal(size=170), rng.normal(rng.uniform(-1, 4), 1, size=30)
        scores = np.concatenate([inliers, outliers]).astype(np.float32)
        is_outlier = np.arange(200) >= 170
        highest = np.argsort(-scores, kind="stable")[:judged]
        listed = highest[is_outlier[highest]]
        found = np.full(200, -1)
        found[listed] = np.arange(len(listed))
        review = Review(tuple(Listed("f", int(i)) for i in listed), judged)
        kept = review.kept(scores, found)
        tested = rng.normal(1, 2, size=300).astype(np.float32)
        p, among_inliers = (p_values(np.sort(scores[which]), tested) for which in (kept, ~is_outlier))
        remaining = int((kept & is_outlier).sum())
        factor = 171 / (171 + remaining)
        assert (p >= among_inliers * factor * (1 - 1e-12)).all()
        judged_only = p <= (judged - len(listed)) / (kept.sum() + 1) * (1 + 1e-12)
        np.testing.assert_allclose(p[judged_only], among_inliers[judged_only] * factor)


def test_the_sentence_counts_judged_images() -> None:
    # 1,000 images, 100 judged, 10 removed: 990 are left, of which the 90 highest are judged.
    assert "up to 0.091 count" in describe_review(990, {"judged": 100, "removed": 10})


def test_the_report_says_what_was_reviewed() -> None:
    note = guarantee_section(SUMMARY, {"judged": 1000, "removed": 1}).blocks[-1]
    assert isinstance(note, Note)
    assert "of the 1,000 highest scores, 1 outlier was removed" in note.text
    assert not any(isinstance(block, Note) for block in guarantee_section(SUMMARY).blocks)
