"""What `vae find` chooses from a look at the images."""

from pathlib import Path

import pytest

from image_files import encode, pictures
from jobs.find.job import check_outside
from jobs.find.options import FindOptions
from jobs.find.rules import Choice, choose
from jobs.images.source import find_images
from jobs.images.survey import Kind, Survey, survey
from vae_core.errors import UserError
from vae_core.models.features.config import FeaturesConfig


def surveyed(counts: dict[Kind, int]) -> Survey:
    total = sum(counts.values())
    return Survey(counts, total, total)


def chosen(counts: dict[Kind, int], **options: object) -> Choice:
    return choose(surveyed(counts), FindOptions(images=("x",), output="y", **options))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("shapes", "expected"),
    [
        ({(3, 64, 64): 3000}, (3, 64, 64)),  # of one shape: as they are
        ({(1, 100, 160): 3000}, (1, 100, 160)),
        ({(3, 200, 200): 3000}, (3, 128, 128)),  # larger than models of a whole image are for
        ({(3, 768, 1024): 1500, (3, 1024, 768): 1500}, (3, 128, 128)),
        ({(3, 70, 90): 2000, (3, 90, 70): 1000}, (3, 64, 64)),
        ({(3, 20, 30): 2000, (3, 30, 20): 1000}, (3, 64, 64)),
        ({(3, 64, 64): 2000, (1, 64, 64): 1000}, (3, 64, 64)),  # channels of most
    ],
)
def test_the_size_follows_from_the_images(
    shapes: dict[tuple[int, int, int], int], expected: tuple[int, int, int]
) -> None:
    found = chosen({Kind(shape, 8, "PNG"): count for shape, count in shapes.items()})
    assert found.contract.shape == found.model.image_shape == expected
    assert found.contract.resize
    assert isinstance(found.model, FeaturesConfig)


def test_few_images_have_more_folds_and_more_epochs() -> None:
    many, few = (chosen({Kind((3, 32, 32), 8, "PNG"): count}) for count in (4000, 400))
    assert (many.folds, few.folds) == (2, 4)
    assert many.train.epochs is not None
    assert few.train.epochs is not None
    assert few.train.epochs > 2 * many.train.epochs
    assert "recipe features," in many.why[-1]
    assert "recipe features-few," in few.why[-1]


def test_options_come_first() -> None:
    found = chosen({Kind((3, 500, 500), 8, "PNG"): 3000}, size=32, folds=3, epochs=7, seed=5)
    assert (found.contract.shape, found.folds) == ((3, 32, 32), 3)
    assert (found.train.epochs, found.train.seed) == (7, 5)


def test_unusable_images_do_not_count() -> None:
    kinds = {Kind((3, 32, 32), 8, "PNG"): 150, Kind(reason="not an image"): 5000}
    with pytest.raises(
        UserError, match=r"must have at least 200 images, .* got 150 that can be used \(5,000 unreadable"
    ):
        chosen(kinds)


def test_a_backbone_needs_a_model_of_features() -> None:
    with pytest.raises(UserError, match="--backbone needs a recipe of the features family, got emoji64"):
        chosen({Kind((3, 64, 64), 8, "PNG"): 3000}, recipe="emoji64", backbone="x.onnx")


@pytest.mark.parametrize(
    ("option", "value", "sentence"),
    [
        ("trim", 0.6, "--trim must be 0 to 0.5, got 0.6"),
        ("folds", 1, "--folds must be 2 to 10, got 1"),
        ("size", 4, "--size must be 8 to 256 pixels, got 4"),
        ("fpr", 0.0, "--fpr must lie between 0 and 1, got 0.0"),
        ("epochs", 0, "--epochs must be at least 1, got 0"),
        ("fdr", 0.2, "--fdr requires --clean, got --fdr 0.2"),
    ],
)
def test_bad_options(option: str, value: float, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        FindOptions(images=("x",), output="y", **{option: value})  # type: ignore[arg-type]


def test_a_real_folder_of_mixed_sizes(tmp_path: Path) -> None:
    for number in range(220):
        image = pictures(1, (3, 40, 50) if number % 2 else (3, 50, 40), seed=number)[0]
        (tmp_path / f"{number}.png").write_bytes(encode(image))
    found = choose(survey(find_images([str(tmp_path)])), FindOptions(images=("x",), output="y"))
    assert found.contract.shape == (3, 64, 64)
    assert "shorter side of most is about 40 pixels" in found.why[0]


def test_no_usable_image_at_all() -> None:
    with pytest.raises(UserError, match=r"got 0 that can be used \(3 unreadable: not an image\)"):
        chosen({Kind(reason="not an image"): 3})


def test_a_backbone_that_is_not_there_is_refused_at_once() -> None:
    with pytest.raises(UserError, match=r"nope\.onnx"):
        chosen({Kind((3, 64, 64), 8, "PNG"): 3000}, backbone="nope.onnx")


@pytest.mark.parametrize("output", ["photos", "photos/found", "photos/a/b"])
def test_an_output_among_the_images_is_refused(output: str) -> None:
    with pytest.raises(UserError, match="--output must lie outside photos, got"):
        check_outside(output, ["else", "photos"])
    check_outside("photos-found", ["photos"])
