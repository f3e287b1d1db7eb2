"""The crops of the demo's wall."""

from pathlib import Path

import cv2
import numpy as np

from export.pictures import encode_png
from jobs.demo.defects import KINDS
from jobs.demo.wall import EACH, ORDINARY, SIDE, TRAINING, crop, is_on_defect, make_wall, number_of, write_wall


def test_defects_are_where_the_masks_are_and_nowhere_else() -> None:
    wall = make_wall()
    assert sorted(set(wall.kinds)) == sorted(["ordinary", *KINDS])
    assert [wall.kinds.count(kind) for kind in ("ordinary", *KINDS)] == [ORDINARY, *[EACH] * len(KINDS)]
    for mask, kind in zip(wall.masks, wall.kinds, strict=True):
        assert mask.any() == (kind != "ordinary")
    again = make_wall()
    np.testing.assert_array_equal(wall.images, again.images)
    assert wall.kinds == again.kinds


def test_files_hold_the_crops_under_names_that_tell_nothing(tmp_path: Path) -> None:
    training, scored, wall = write_wall(tmp_path)
    assert len(list(training.iterdir())) == TRAINING
    files = sorted(scored.iterdir())
    assert [number_of(str(file)) for file in files] == list(range(len(wall.kinds)))
    read = np.stack([cv2.imread(str(file), cv2.IMREAD_UNCHANGED) for file in files])
    np.testing.assert_array_equal(read[:, None], wall.images)
    lines = (tmp_path / "truth.csv").read_text().splitlines()
    assert lines[1:] == [f"{file.name},{kind}" for file, kind in zip(files, wall.kinds, strict=True)]


def test_a_map_is_on_a_defect_if_its_highest_place_is_near_the_mask() -> None:
    mask = np.zeros((SIDE, SIDE), bool)
    mask[20:30, 40:45] = True
    for row, column, expected in ((25, 42, True), (16, 48, True), (15, 42, False), (25, 50, False)):
        surprise = np.zeros((1, SIDE, SIDE), np.uint8)
        surprise[0, row, column] = 9
        assert is_on_defect(encode_png(surprise), mask) == expected


def test_crops_depend_on_the_seed() -> None:
    assert not np.array_equal(crop(5, 0), crop(5, 1))
    assert crop(5, 0).shape == (5, 1, SIDE, SIDE)
