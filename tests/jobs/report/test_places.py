"""Files and rows are named so that no character acts on the text around it."""

import pytest

from jobs.report.places import common_folder, place, visible


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Größe 大きさ 🖼.png", "Größe 大きさ 🖼.png"),
        ("evil\N{RIGHT-TO-LEFT OVERRIDE}gpj.exe", "evil⟨U+202E⟩gpj.exe"),
        ("a\nb\tc\x00\x1b", "a⟨U+000A⟩b⟨U+0009⟩c⟨U+0000⟩⟨U+001B⟩"),
        ("\N{ZERO WIDTH SPACE}\N{LINE SEPARATOR}\N{BYTE ORDER MARK}", "⟨U+200B⟩⟨U+2028⟩⟨U+FEFF⟩"),
        ("\udc80", "⟨U+DC80⟩"),
    ],
)
def test_characters_that_act_become_code_points(text: str, expected: str) -> None:
    assert visible(text) == expected


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
