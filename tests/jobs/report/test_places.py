"""How files and rows are named on a page."""

import pytest

from jobs.report.places import common_folder, place


@pytest.mark.parametrize(
    ("file", "row", "expected"),
    [
        ("/data/a.parquet", 0, "row 0 · a.parquet"),
        ("/data/b/a.PNG", 0, "b/a.PNG"),
        ("/data/lost.parquet", None, "lost.parquet"),
        ("s3://x/a.jpeg", 0, "s3://x/a.jpeg"),
    ],
)
def test_image_files_have_no_row(file: str, row: int | None, expected: str) -> None:
    assert place(file, row, "/data/") == expected


def test_the_common_folder_is_the_deepest() -> None:
    assert common_folder(["/a/b/c.png", "/a/b/d/e.png"]) == "/a/b/"
    assert common_folder(["/a/bc/d", "/a/b/d"]) == "/a/"
    assert common_folder(["s3://x/a", "/x/a"]) == ""
    assert common_folder([]) == ""
