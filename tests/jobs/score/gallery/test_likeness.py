"""Images that are nearly identical share a group, and others do not."""

import cv2
import numpy as np
import pytest

from jobs.score.gallery import likeness as module
from jobs.score.gallery.likeness import group_alike, likeness


def scene(seed: int, size: tuple[int, int, int] = (64, 96, 3), contrast: float = 50.0) -> np.ndarray:
    """A smooth random picture."""
    coarse = np.random.default_rng(seed).normal(128, contrast, (6, 8, size[2]))
    smooth = cv2.resize(coarse, (size[1], size[0]), interpolation=cv2.INTER_CUBIC).reshape(size)
    return np.clip(smooth, 0, 255).astype(np.uint8)


def alike(first: np.ndarray, second: np.ndarray) -> bool:
    return group_alike([likeness(first), likeness(second)]) == [0, 0]


CHANGES = {
    "nothing": lambda image: image,
    "JPEG": lambda image: cv2.imdecode(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 60])[1], 1),
    "half the size": lambda image: cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA),
    "noise": lambda image: np.clip(image + np.random.default_rng(9).normal(0, 5, image.shape), 0, 255).astype(np.uint8),
    "light": lambda image: np.clip(image.astype(int) + 10, 0, 255).astype(np.uint8),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("contrast", [8.0, 40.0])
def test_a_copy_is_recognised(change: str, contrast: float) -> None:
    for seed in range(5):
        image = scene(seed, contrast=contrast)
        assert alike(image, CHANGES[change](image))


def test_other_pictures_are_not_alike() -> None:
    images = [likeness(scene(seed, contrast=contrast)) for seed in range(40) for contrast in (8.0, 40.0)]
    assert group_alike(images) == list(range(80))


def test_blank_images_are_alike_if_their_colours_are() -> None:
    blanks = [likeness(np.full((8, 8, 3), level, np.uint8)) for level in ((0, 0, 0), (3, 2, 0), (255, 255, 255))]
    red, green = (likeness(np.full((8, 8, 3), colour, np.uint8)) for colour in ((200, 0, 0), (0, 102, 0)))
    assert group_alike([*blanks, red, green]) == [0, 0, 2, 3, 4]


def test_a_mirrored_or_turned_picture_is_another() -> None:
    image = scene(3)
    assert not alike(image, image[:, ::-1])
    assert not alike(image, image[::-1])


def test_groups_have_a_leader_and_no_chains(monkeypatch: pytest.MonkeyPatch) -> None:
    steps = [likeness(np.full((8, 8, 1), level, np.uint8)) for level in range(0, 100, 10)]
    # Each is within 16 levels of its neighbours; 0 leads 10, and 20 leads 30.
    expected = [0, 0, 2, 2, 4, 4, 6, 6, 8, 8]
    assert group_alike(steps) == expected
    monkeypatch.setattr(module, "_BLOCK", 3)
    assert group_alike(steps) == expected  # however they are compared


def test_images_that_are_gone_are_like_no_other() -> None:
    image = likeness(scene(1))
    assert group_alike([None, image, None, image]) == [0, 1, 2, 1]
    assert group_alike([None, None]) == [0, 1]
    assert group_alike([]) == []


def test_groups_are_those_of_a_plain_loop() -> None:
    rng = np.random.default_rng(0)
    scenes = [scene(int(seed), (16, 16, 1)) for seed in rng.integers(0, 40, 200)]
    noisy = [np.clip(each + rng.normal(0, 2, each.shape), 0, 255).astype(np.uint8) for each in scenes]
    images = [likeness(each) for each in noisy]

    def near(a: module.Likeness, b: module.Likeness) -> bool:
        difference = np.sqrt(np.mean((a.detail.astype(float) - b.detail) ** 2))
        contrast = min(np.sqrt(np.mean(each.detail.astype(float) ** 2)) for each in (a, b))
        return bool(difference <= 1 + 0.1 * contrast and np.abs(a.colour - b.colour).max() <= 16)

    leaders: list[int] = []
    for index, image in enumerate(images):
        candidates = [other for other in range(index) if leaders[other] == other and near(images[other], image)]
        leaders.append(candidates[0] if candidates else index)
    assert group_alike(images) == leaders
    assert len(set(leaders)) == len({int(each) for each in np.random.default_rng(0).integers(0, 40, 200)})
