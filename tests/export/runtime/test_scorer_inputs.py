"""`Scorer` and `Classifier` take what a program has at hand, and score files as `vae score` does."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from export.bundle.format import Bundle
from export.runtime.classifier import Classifier
from export.runtime.scorer import Scorer
from image_files import encode
from jobs.score.job import score
from jobs.score.options import ScoreOptions
from scored import read_scores
from vae_core.errors import UserError


@pytest.fixture
def photos(tmp_path: Path) -> list[Path]:
    """Files of several formats, sizes, depths and orientations."""
    from bundles import pictures

    folder = tmp_path / "photos"
    folder.mkdir()
    exif = Image.Exif()
    exif[0x0112] = 6
    colour = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8))
    contents = {
        **{f"{i}.png": encode(image) for i, image in enumerate(pictures(20, seed=4))},
        "turned.jpg": encode(colour, "JPEG", exif=exif),
        "clear.png": encode(colour.convert("RGBA")),
        "deep.png": encode(np.random.default_rng(1).integers(0, 65536, (20, 16), dtype=np.uint16)),
        "small.bmp": encode(colour.resize((7, 9)), "BMP"),
    }
    for name, data in contents.items():
        (folder / name).write_bytes(data)
    return sorted(folder.iterdir())


def test_files_have_the_scores_of_a_job_to_the_bit(tmp_path: Path, bundle: Path, photos: list[Path]) -> None:
    score(
        ScoreOptions(
            bundle=str(bundle),
            images=(str(tmp_path / "photos"),),
            output=str(tmp_path / "out"),
            resize=True,
            engine="local",
            explain=0,
        )
    )
    scores = read_scores(tmp_path / "out")
    assert scores["file"].to_pylist() == [str(path) for path in photos]
    scorer = Scorer(str(bundle), resize=True)
    for images in (photos, [str(path) for path in photos], [path.read_bytes() for path in photos]):
        for name, values in scorer.score(images).items():
            np.testing.assert_array_equal(scores[name].to_numpy(), values, err_msg=name)


def test_every_method_takes_every_kind(bundle: Path, photos: list[Path]) -> None:
    scorer = Scorer(str(bundle), resize=True, batch_size=7)
    pixels = np.concatenate([*scorer._inputs.batches(photos, 5)])
    kinds = [photos, pixels, pixels.transpose(0, 2, 3, 1), list(pixels)]
    mixed = [each[i] for i, each in zip(range(len(photos)), [photos, pixels] * len(photos), strict=False)]
    expected = scorer.score(pixels)
    for images in (*kinds, mixed):
        for name, values in scorer.score(images).items():
            np.testing.assert_array_equal(values, expected[name])
    np.testing.assert_array_equal(scorer.encode(photos)[0], scorer.encode(pixels)[0])
    np.testing.assert_array_equal(scorer.reconstruct(photos), scorer.reconstruct(pixels))
    np.testing.assert_array_equal(scorer.surprise(photos), scorer.surprise(pixels))
    explained, same = scorer.explain(photos), scorer.explain(pixels)
    for name, values in explained.items():
        np.testing.assert_array_equal(values, same[name])
    assert len(scorer.score(photos[0])["p_value"]) == len(scorer.score(pixels[0])["p_value"]) == 1


def test_progress_counts_to_the_end(bundle: Path, photos: list[Path]) -> None:
    seen: list[tuple[int, int]] = []
    Scorer(str(bundle), resize=True, batch_size=10).score(
        photos, progress=lambda done, count: seen.append((done, count))
    )
    assert seen == [(10, 24), (20, 24), (24, 24)]


def test_without_resize_other_images_are_refused(bundle: Path, photos: list[Path]) -> None:
    with pytest.raises(UserError, match=r"image 20 \(.*clear.png\) cannot be used: .*open with resize=True"):
        Scorer(str(bundle)).score(photos)
    assert len(Scorer(str(bundle)).score(photos[:20])["p_value"]) == 20


def test_the_classifier_takes_them_too(labelled_bundle: Path, tmp_path: Path) -> None:
    classifier = Classifier(str(labelled_bundle))
    images = Bundle.open(str(labelled_bundle)).examples[:6]
    paths = [tmp_path / f"{i}.png" for i in range(6)]
    for path, image in zip(paths, images, strict=True):
        path.write_bytes(encode(image))
    expected = classifier.classify(images)
    for name, values in classifier.classify(paths).items():
        np.testing.assert_array_equal(values, expected[name])
