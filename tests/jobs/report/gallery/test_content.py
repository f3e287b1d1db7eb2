"""What a gallery is given: columns of JSON that cannot end their script, files that hold nothing else."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from export.storage import Folder
from jobs.report.gallery.content import SHEET, GalleryContent, Group, Image, script_json
from jobs.report.gallery.links import folder_link
from jobs.report.gallery.write import INLINE, write_gallery


def content(count: int, **changes: Any) -> GalleryContent:
    columns: dict[str, Any] = {
        "files": [f"/data/in/{number}.png" for number in range(count)],
        "rows": [None] * count,
        "scores": [count - number / 3 for number in range(count)],
        "p_values": [0.01] * count,
        "discoveries": [False] * count,
        "images": [Image(f"data:image/png;base64,{number}", 8, 8, "8×8") for number in range(count)],
        "leaders": list(range(count)),
        "reasons": [""] * count,
        "extras": {},
        "link": None,
    }
    return GalleryContent(**(columns | changes))


@given(st.text() | st.text(st.characters(categories=["Cc", "Cf", "Zl", "Zp", "Cs"])))
def test_any_text_survives_and_ends_no_script(text: str) -> None:
    text = text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")  # a pair is one character
    written = script_json({"name": text, "more": [f"</script>{text}<!--"]})
    assert written.isascii()
    assert not re.search(r"[<>&\n\r]", written)
    assert json.loads(written) == {"name": text, "more": [f"</script>{text}<!--"]}


def test_columns_are_as_they_were_given() -> None:
    files = ["/data/a/1.png", "/data/b.parquet", "/data/b.parquet"]
    made = content(
        3,
        files=files,
        rows=[None, 0, 7],
        scores=[3.0, 0.1, float("nan")],
        p_values=[1 / 301, None, 1.0],
        kinds=[Group("Format", ["PNG", "JPEG", "PNG"])],
        images=[Image("data:,", 8, 4, "80×40"), None, None],
        extras={"camera": ["x", None, 2.5]},
    )
    found = json.loads(made.to_json())
    assert [found["folder"] + found["names"][number] for number in found["file"]] == files
    assert found["row"] == [None, 0, 7]
    assert found["score"] == [3.0, 0.1, None]
    assert found["p"] == [0.003322259, None, 1.0]  # seven digits
    assert found["shown"] == [[8, 4, "80×40"], None, None]
    assert found["kinds"] == [{"name": "Format", "values": ["PNG", "JPEG"], "of": [0, 1, 0]}]
    assert found["extras"] == [{"name": "camera", "values": ["x", None, 2.5]}]
    assert json.loads(made.pictures_json(0, 2)) == ["data:,", None]


def test_the_identity_is_of_the_images_and_their_order() -> None:
    def identity(**changes: Any) -> str:
        return str(json.loads(content(2, **changes).to_json())["id"])

    assert identity() == identity(scores=[5.0, 4.0], discoveries=[True, False])
    others = [identity(rows=[None, 1]), identity(files=["/data/in/1.png", "/data/in/0.png"])]
    assert len({identity(), *others}) == 3


def test_few_images_are_in_the_page(tmp_path: Path) -> None:
    output = Folder.at(tmp_path)
    few = write_gallery(output, content(INLINE))
    assert (few.folder, few.count) == ("", INLINE)
    assert len(json.loads(few.pictures)) == INLINE
    assert list(tmp_path.iterdir()) == []


def test_many_are_in_files_which_a_smaller_gallery_replaces(tmp_path: Path) -> None:
    output = Folder.at(tmp_path)
    many = write_gallery(output, content(2 * SHEET + 1))
    assert (many.data, many.pictures, many.folder) == ("", "", "gallery")
    names = sorted(path.name for path in (tmp_path / "gallery").iterdir())
    assert names == ["data.js", *(f"pictures-000{number}.js" for number in range(3))]
    last = (tmp_path / "gallery/pictures-0002.js").read_text()
    assert last == f'gallery.receivePictures(2, ["data:image/png;base64,{2 * SHEET}"]);\n'
    data = (tmp_path / "gallery/data.js").read_text().removeprefix("gallery.receive(").removesuffix(");\n")
    assert len(json.loads(data)["file"]) == 2 * SHEET + 1

    write_gallery(output, content(INLINE + 1))
    assert sorted(path.name for path in (tmp_path / "gallery").iterdir()) == ["data.js", "pictures-0000.js"]
    write_gallery(output, content(INLINE))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("folder", "expected"),
    [("in/", "../in/"), ("", "../"), ("out/", "./"), ("out/a b#?%/", "a%20b%23%3F%25/"), ("ü/", "../%C3%BC/")],
)
def test_links_are_relative_to_the_page(tmp_path: Path, folder: str, expected: str) -> None:
    assert folder_link(f"{tmp_path}/{folder}", Folder.at(tmp_path / "out")) == expected


def test_links_to_a_local_disk_from_elsewhere_are_absolute() -> None:
    elsewhere = Folder.at("memory://bucket/out")
    assert folder_link("/data/a b/", elsewhere) == "file:///data/a%20b/"
    assert folder_link("/", elsewhere) == "file:///"
    assert folder_link("memory://bucket/in/", elsewhere) is None
    assert folder_link("", elsewhere) is None
