"""The gallery in a real browser, used as a person would: clicks, keys, files that are downloaded."""

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from browsers import COLOURS, contrast
from browsers import browser as open_browser
from export.pictures import encode_png
from export.storage import Folder
from jobs.report.blocks import Head, Section
from jobs.report.gallery.content import GalleryContent, Group, Image
from jobs.report.gallery.links import folder_link
from jobs.report.gallery.write import write_gallery
from jobs.report.page import render_page, write_page
from jobs.score.gallery.thumbnails import thumbnail

HOSTILE = [
    "<img src=x onerror=alert(1)>.png",
    "'\";&amp;.png",
    "evil\N{RIGHT-TO-LEFT OVERRIDE}gpj.png",
    "line\nbreak, comma.png",
    "sep\N{LINE SEPARATOR}arator.png",
    "%2e%2e#?.png",
]


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with open_browser() as opened:
        yield opened


@pytest.fixture
def errors() -> list[str]:
    """What a page complained of; nothing may be here at the end of a test."""
    return []


@pytest.fixture
def visit(chromium: Any, errors: list[str]) -> Iterator[Any]:
    """Opens an address, with options of a browser's context."""
    contexts = []

    def visit(address: str, **options: Any) -> Any:
        context = chromium.new_context(viewport={"width": 1400, "height": 1000}, **options)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
        page.on("dialog", lambda dialog: (errors.append(f"alert: {dialog.message}"), dialog.dismiss()))
        page.set_default_timeout(10_000)
        page.goto(address)
        page.wait_for_selector(".gallery.ready")
        return page

    yield visit
    for context in contexts:
        context.close()
    assert errors == []


def write_files(folder: Path, names: list[str]) -> None:
    """Small images, a different one for each name."""
    for number, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode_png(image_of(number)))


def image_of(number: int) -> np.ndarray:
    return np.random.default_rng(number).integers(0, 256, (3, 12, 16), dtype=np.uint8)


def write_gallery_page(output: Path, folder: Path, names: list[str], **changes: Any) -> str:
    """A report whose gallery shows the files `names` of a folder; scores fall from `len(names)` to 1."""
    count, target = len(names), Folder.at(output)
    small = [thumbnail(np.ascontiguousarray(image_of(number).transpose(1, 2, 0))) for number in range(count)]
    columns: dict[str, Any] = {
        "files": [f"{folder}/{name}" for name in names],
        "rows": [None] * count,
        "scores": [float(count - number) for number in range(count)],
        "p_values": [(1 + number // 4) / 1000 for number in range(count)],
        "discoveries": [number < count // 2 for number in range(count)],
        "images": [Image(*each, "16×12") for each in small],
        "leaders": list(range(count)),
        "reasons": [f"It is {number} σ too <b>bold</b>." for number in range(count)],
        "kinds": [
            Group("Reason", ["latent code" if number % 3 else "reconstruction" for number in range(count)]),
            Group("Format", ["PNG" if name.endswith("png") else "JPEG" for name in names]),
        ],
        "extras": {"camera": [f"c{number % 2}" for number in range(count)]},
        "link": folder_link(f"{folder}/", target),
    }
    gallery = write_gallery(target, GalleryContent(**(columns | changes)))
    page = render_page(Head("Outlier report", "Title", "Lead"), [Section("flagged", "Flagged images", "", [gallery])])
    return Path(write_page(target, page)).as_uri()


@pytest.fixture
def names() -> list[str]:
    return [f"day-{number % 2}/image-{number:03d}.{'png' if number % 5 else 'jpg'}" for number in range(40)]


@pytest.fixture
def address(tmp_path: Path, names: list[str]) -> str:
    write_files(tmp_path / "in", names)
    return write_gallery_page(tmp_path / "out", tmp_path / "in", names)


def titles(page: Any) -> list[str]:
    """The names on the cards that exist, in order."""
    return [str(text) for text in page.locator(".shot .name").all_inner_texts()]


def status(page: Any) -> str:
    return str(page.locator(".gallery-status").inner_text())


def shown_pixels(page: Any, card: int) -> list[list[list[int]]]:
    """The RGB pixels of the picture on a card."""
    script = "one => [...one.getContext('2d').getImageData(0, 0, one.width, one.height).data]"
    flat = page.locator(f"[data-card='{card}'] canvas").evaluate(script)
    return list(np.array(flat).reshape(12, 16, 4)[..., :3].tolist())


def downloaded(page: Any, button: str) -> Path:
    with page.expect_download() as waiting:
        page.get_by_role("button", name=button).click()
    return Path(waiting.value.path())


def test_a_person_filters_selects_and_exports(visit: Any, address: str, tmp_path: Path, names: list[str]) -> None:
    page = visit(address)
    assert status(page) == "40 of 40 images · 0 selected"
    assert titles(page)[:3] == ["image-000.jpg", "image-001.png", "image-002.png"]
    assert page.get_by_role("button", name="Download CSV").is_disabled()

    page.get_by_label("Order").select_option("least outlying first")
    assert titles(page)[:2] == ["image-039.png", "image-038.png"]
    page.get_by_label("Reason").select_option(label="reconstruction (14)")
    assert status(page) == "14 of 40 images · 0 selected"
    page.get_by_label("Score at least").fill("20.5")
    page.get_by_label("p at most").fill("0.004")
    page.get_by_label("Format").select_option(label="PNG (4)")
    assert titles(page) == ["image-012.png", "image-009.png", "image-006.png", "image-003.png"]
    page.get_by_label("Path contains").fill("DAY-1/")
    assert titles(page) == ["image-009.png", "image-003.png"]

    page.get_by_label("Select image 10", exact=True).click()
    page.get_by_label("Path contains").fill("")
    page.get_by_label("Select image 7", exact=True).click()
    assert status(page) == "4 of 40 images · 2 selected"
    page.get_by_label("Format").select_option("-1")
    page.get_by_label("Path contains").fill("image-000")
    assert status(page) == "1 of 40 images · 2 selected · 2 of them not shown"

    chosen = [str(tmp_path / "in" / names[number]) for number in (6, 9)]
    with downloaded(page, "Download CSV").open(newline="") as stream:
        assert list(csv.reader(stream)) == [["file", "row"], *([file, ""] for file in chosen)]
    assert downloaded(page, "Download paths").read_text() == "".join(f"{file}\n" for file in chosen)


def test_the_keyboard_alone_is_enough(visit: Any, address: str) -> None:
    page = visit(address)
    columns = int(page.locator(".gallery-grid").get_attribute("aria-colcount"))
    assert columns == 7
    page.locator(".shot").first.focus()
    page.keyboard.press("x")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowRight")
    page.keyboard.press(" ")
    assert status(page).endswith("2 selected")
    assert "/in/day-0/image-008.png" in page.locator(".gallery-detail").inner_text()
    page.keyboard.press("ArrowDown")
    for _ in range(3):
        page.keyboard.press("Shift+ArrowRight")
    page.keyboard.press("Shift+ArrowLeft")
    # 0 and 8; then the range from 15 to 17.
    chosen = page.locator(".shot[aria-selected=true]").evaluate_all("made => made.map(one => Number(one.dataset.card))")
    assert chosen == [0, 8, 15, 16, 17]

    page.keyboard.press("End")
    assert page.evaluate("document.activeElement.dataset.card") == "39"
    assert page.locator(".shot[tabindex='0']").count() == 1
    page.keyboard.press("Home")
    page.keyboard.press("a")
    assert status(page).endswith("40 selected")
    page.keyboard.press("a")
    assert status(page).endswith("0 selected")
    page.keyboard.press("?")
    assert page.get_by_role("dialog").is_visible()
    page.keyboard.press("Escape")
    assert not page.get_by_role("dialog").is_visible()


def test_a_click_opens_the_original(visit: Any, address: str) -> None:
    page = visit(address)
    with page.context.expect_page() as waiting:
        page.get_by_role("link", name="Open image 4", exact=True).click()
    opened = waiting.value
    opened.wait_for_load_state()
    assert opened.url.endswith("/in/day-1/image-003.png")
    assert opened.evaluate("document.images[0].naturalWidth") == 16


def test_shift_and_click_select_a_range(visit: Any, address: str) -> None:
    page = visit(address)
    page.get_by_label("Select image 3", exact=True).click()
    page.get_by_label("Select image 9", exact=True).click(modifiers=["Shift"])
    assert status(page).endswith("7 selected")
    page.get_by_label("Selected only").check()
    assert status(page) == "7 of 40 images · 7 selected"
    page.get_by_role("button", name="Select none").click()
    assert status(page) == "0 of 40 images · 0 selected"
    assert page.locator(".gallery-detail").inner_text() == "No image passes these filters."


def test_what_was_selected_is_still_so_when_the_page_is_opened_again(visit: Any, address: str) -> None:
    page = visit(address)
    page.get_by_label("Select image 2", exact=True).click()
    page.reload()
    page.wait_for_selector(".gallery.ready")
    assert status(page).endswith("1 selected")


def test_near_identical_images_share_a_card(visit: Any, tmp_path: Path, names: list[str]) -> None:
    leaders = [1 if number in (4, 20, 30) else number for number in range(40)]
    page = visit(write_gallery_page(tmp_path / "out", tmp_path / "in", names, leaders=leaders))
    assert status(page) == "40 of 40 images · 37 cards · 0 selected"
    page.get_by_label("Select image 2", exact=True).click()
    assert status(page).endswith("4 selected")  # with all that it stands for
    page.keyboard.press("e")
    assert titles(page)[:6] == [
        f"image-{number:03d}.{kind}"
        for number, kind in [(0, "jpg"), (1, "png"), (4, "png"), (20, "jpg"), (30, "jpg"), (2, "png")]
    ]
    page.get_by_label("Select image 21", exact=True).click()
    assert status(page).endswith("3 selected")
    page.get_by_role("button", name="fold 4").click()
    assert page.get_by_label("Select image 2", exact=True).evaluate("tick => tick.indeterminate")
    page.get_by_label("Order").select_option("largest groups first")
    assert titles(page)[0] == "image-001.png"
    page.get_by_label("Group near-identical").uncheck()
    assert status(page) == "40 of 40 images · 3 selected"


def test_rows_of_parquet_are_named_and_enlarged(visit: Any, tmp_path: Path) -> None:
    names = ["a.parquet"] * 30 + ["b/c.parquet"] * 10
    rows = [7 * number for number in range(40)]
    page = visit(write_gallery_page(tmp_path / "out", tmp_path / "in", names, rows=rows, link=None))
    assert titles(page)[:2] == ["row 0 · a.parquet", "row 7 · a.parquet"]
    assert page.locator(".shot a").count() == 0
    page.get_by_role("button", name="Enlarge image 2", exact=True).click()
    dialog = page.get_by_role("dialog")
    assert f"row 7 of {tmp_path}/in/a.parquet" in dialog.inner_text()
    assert dialog.locator("canvas.painted").evaluate("one => one.width") == 16
    page.keyboard.press("Escape")
    page.keyboard.press("x")
    assert page.get_by_role("button", name="Download paths").is_disabled()  # a path does not name a row
    with downloaded(page, "Download CSV").open(newline="") as stream:
        assert list(csv.reader(stream))[1:] == [[f"{tmp_path}/in/a.parquet", "7"]]


def test_names_are_text_whatever_they_hold(visit: Any, tmp_path: Path) -> None:
    write_files(tmp_path / "in", HOSTILE)
    address = write_gallery_page(
        tmp_path / "out", tmp_path / "in", HOSTILE, extras={"</script>": ["</script><script>alert(3)</script>"] * 6}
    )
    page = visit(address)
    assert titles(page) == [
        "<img src=x onerror=alert(1)>.png",
        "'\";&amp;.png",
        "evil⟨U+202E⟩gpj.png",
        "line⟨U+000A⟩break, comma.png",
        "sep⟨U+2028⟩arator.png",
        "%2e%2e#?.png",
    ]
    assert "</script><script>alert(3)</script>" in page.locator(".gallery-detail").inner_text()
    for number in range(6):
        with page.context.expect_page() as waiting:
            page.get_by_role("link", name=f"Open image {number + 1}", exact=True).click()
        waiting.value.wait_for_load_state()
        assert waiting.value.evaluate("document.images.length && document.images[0].naturalWidth") == 16
        waiting.value.close()
    page.keyboard.press("Home")
    page.locator(".shot").first.focus()
    page.keyboard.press("a")
    with downloaded(page, "Download CSV").open(newline="") as stream:
        assert [file for file, _ in csv.reader(stream)][1:] == [f"{tmp_path}/in/{name}" for name in HOSTILE]
    assert page.get_by_role("button", name="Download paths").is_disabled()  # one has a line break


def test_images_that_are_gone_are_shown_as_such(visit: Any, tmp_path: Path, names: list[str]) -> None:
    images = [None if number == 1 else Image(*thumbnail(np.zeros((9, 9, 1), np.uint8)), "9×9") for number in range(40)]
    page = visit(write_gallery_page(tmp_path / "out", tmp_path / "in", names, images=images, link=None))
    assert page.locator(".shot .gone").all_inner_texts() == ["can no longer be read"]


def test_a_list_is_copied(visit: Any, address: str, tmp_path: Path, names: list[str]) -> None:
    page = visit(address, permissions=["clipboard-read", "clipboard-write"])
    page.get_by_label("Select image 5", exact=True).click()
    page.get_by_role("button", name="Copy").click()
    page.get_by_text("1 copied").wait_for()
    assert page.evaluate("navigator.clipboard.readText()") == f"{tmp_path}/in/{names[4]}\n"


def test_a_large_gallery_has_few_elements_and_loads_pictures_as_it_scrolls(visit: Any, tmp_path: Path) -> None:
    count = 1000
    address = write_gallery_page(
        tmp_path / "out", tmp_path / "in", [f"{number}.png" for number in range(count)], link=None
    )
    assert (tmp_path / "out/gallery/pictures-0003.js").exists()
    page = visit(address)
    page.locator(".shot canvas.painted").first.wait_for()
    assert shown_pixels(page, 0) == image_of(0).transpose(1, 2, 0).tolist()
    assert page.locator(".shot").count() < 100
    page.locator(".shot").first.focus()
    page.keyboard.press("End")
    page.locator("[data-card='999'] canvas.painted").wait_for()
    assert shown_pixels(page, 999) == image_of(999).transpose(1, 2, 0).tolist()
    assert page.evaluate("document.activeElement.dataset.card") == "999"
    assert page.locator(".shot").count() < 100
    page.keyboard.press("Shift+Home")
    assert status(page) == "1,000 of 1,000 images · 1,000 selected"


@pytest.mark.parametrize("width", [400, 1400])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_fits_and_can_be_read(visit: Any, tmp_path: Path, width: int, scheme: str) -> None:
    names = [f"a-rather-long-folder/{'part_' * 12}{number}.jpeg" for number in range(12)] + ["x" * 90 + ".png"] * 12
    address = write_gallery_page(tmp_path / "out", tmp_path / "in", names, leaders=[0, 0, 0, *range(3, 24)])
    page = visit(address, color_scheme=scheme)
    page.set_viewport_size({"width": width, "height": 900})
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    boxes = page.locator(".shot").evaluate_all("all => all.map(one => one.getBoundingClientRect().toJSON())")
    assert all(box["left"] >= 0 and box["right"] <= width for box in boxes)
    for button in page.locator(".gallery button:visible, .gallery select, .gallery-tools input").all():
        box = button.bounding_box()
        assert box is None or (box["x"] >= 0 and box["x"] + box["width"] <= width)
    page.locator(".shot").first.click(position={"x": 60, "y": 200})
    page.keyboard.press("x")
    for selector in (
        ".shot .numbers b",
        ".shot .name",
        ".shot .chance",
        ".badge",
        ".gallery-status",
        ".why",
        ".pile",
        ".gallery-export p",
        ".gallery-tools label",
        ".gallery-detail .where",
    ):
        for text in page.locator(selector).all()[:3]:
            assert contrast(text.evaluate(COLOURS)) >= 4.5, selector
    assert page.locator(".shot").first.evaluate("one => getComputedStyle(one).outlineStyle") == "solid"


def test_contrast_is_that_of_wcag() -> None:
    assert contrast(["rgb(0, 0, 0)", "rgb(255, 255, 255)"]) == pytest.approx(21)
    assert contrast(["rgb(119, 119, 119)", "rgb(255, 255, 255)"]) == pytest.approx(4.478, abs=1e-3)
