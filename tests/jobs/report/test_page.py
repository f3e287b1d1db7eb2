"""The page is one file that fetches nothing, and untrusted text stays text."""

import base64
import hashlib
import re
from html.parser import HTMLParser

import numpy as np
import pytest

from jobs.report.blocks import (
    Bar,
    Card,
    Cards,
    Chart,
    Charts,
    Figure,
    Figures,
    Gallery,
    Head,
    Key,
    Layer,
    Mark,
    Matrix,
    Note,
    Row,
    Scale,
    Section,
    Table,
    Tick,
    Wall,
)
from jobs.report.page import render_page
from jobs.report.pictures import picture

HOSTILE = "<script>alert('x')</script>\"><img src=https://example.com/x>&amp;"


def every_block(text: str) -> list[Section]:
    """A section with every kind of block, with `text` in every text field."""
    shown = picture(np.zeros((1, 4, 4), dtype=np.uint8), text)
    chart = Chart(
        text,
        text,
        [Layer("M0 0H1", "line first")],
        [Tick(50, text)],
        [Tick(50, text)],
        text,
        [Mark(50, text, "alert")],
        [Key(text, "first")],
    )
    blocks = [
        Figures([Figure(text, text, text)]),
        chart,
        Charts([chart, chart]),
        Scale(text, text, text, ["rgb(0 0 0)", "rgb(255 255 255)"]),
        Cards(
            [Card([shown], text, text, text, text, text, [Bar(text, text, 0, 50, "out")], 0.0, [shown])],
            [text],
            text,
            text,
        ),
        Matrix([Row(text, text, [shown])], [text], text, text),
        Wall([shown], text, text),
        Table([text], [[text]], [text], text),
        Note(text),
    ]
    return [Section("first", text, text, blocks), Section("second", text, text, [])]


def hostile_page() -> str:
    return render_page(Head(HOSTILE, HOSTILE, HOSTILE), every_block(HOSTILE), HOSTILE)


class Elements(HTMLParser):
    """Every start tag with its attributes, and all text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def test_hostile_names_stay_text() -> None:
    page = Elements(hostile_page())
    assert not any(tag in {"script", "iframe", "object", "embed"} for tag, _ in page.found)
    assert not any(name.startswith("on") for _, attributes in page.found for name in attributes)
    assert page.text.count(HOSTILE) > 20  # shown verbatim, not dropped


def test_nothing_is_fetched() -> None:
    source = hostile_page()
    for tag, attributes in Elements(source).found:
        for name in ("src", "href", "srcset", "action", "data", "poster"):
            address = attributes.get(name) or ""
            assert not address or address.startswith(("data:", "#")), (tag, name, address)
    style = "".join(re.findall(r"<style>(.*?)</style>", source, re.DOTALL))
    assert "url(" not in style
    assert "@import" not in style


def test_every_image_has_alt_text() -> None:
    images = [attributes for tag, attributes in Elements(hostile_page()).found if tag == "img"]
    assert images
    assert all(attributes.get("alt") for attributes in images)


def test_sections_are_in_order_and_linked() -> None:
    page = Elements(hostile_page())
    names = [attributes["id"] for tag, attributes in page.found if tag == "section"]
    links = [attributes["href"] for tag, attributes in page.found if tag == "a"]
    assert names == ["first", "second"]
    assert links == ["#first", "#second"]


def test_tags_are_balanced() -> None:
    void = {"meta", "link", "img", "br", "path"}  # SVG paths are self-closing

    class Balance(HTMLParser):
        open: list[str] = []  # noqa: RUF012

        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            if tag not in void:
                self.open.append(tag)

        def handle_endtag(self, tag: str) -> None:
            if tag not in void:
                assert self.open.pop() == tag

    parser = Balance()
    parser.feed(hostile_page())
    assert not parser.open


def test_a_page_of_one_section_has_no_table_of_contents() -> None:
    page = render_page(Head("kicker", "title", "lead"), [Section("only", "Only", "", [])])
    assert "<nav" not in page


@pytest.mark.parametrize("block", list(every_block("word")[0].blocks))
def test_each_block_can_stand_alone(block: object) -> None:
    page = render_page(Head("kicker", "title", "lead"), [Section("only", "Only", "", [block])])  # type: ignore[list-item]
    assert "word" in page


def test_only_a_gallery_has_a_script_and_the_policy_names_it() -> None:
    block = Gallery('{"names":[]}', "[]", "", 0)
    source = render_page(Head("kicker", "title", "lead"), [Section("only", "Only", "", [block])])
    kinds = [attributes.get("type") for tag, attributes in Elements(source).found if tag == "script"]
    assert kinds == ["application/json", None]
    script = re.findall(r"<script>(.*?)</script>", source, re.DOTALL)[0]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policies = [attributes["content"] or "" for _, attributes in Elements(source).found if "http-equiv" in attributes]
    assert f"script-src 'sha256-{digest}' 'strict-dynamic'" in policies[0]
    assert "</" not in script
    (policy,) = (
        attributes["content"] for _, attributes in Elements(hostile_page()).found if "http-equiv" in attributes
    )
    assert "script-src 'none'" in (policy or "")


def test_a_gallery_in_files_is_not_in_the_page() -> None:
    source = render_page(Head("k", "t", "l"), [Section("only", "Only", "", [Gallery("", "", "gallery", 9)])])
    page = Elements(source)
    assert [attributes["data-folder"] for _, attributes in page.found if "data-folder" in attributes] == ["gallery"]
    assert [attributes.get("type") for tag, attributes in page.found if tag == "script"] == [None]


def test_no_character_turns_the_text_around_it() -> None:
    name = "a\N{RIGHT-TO-LEFT OVERRIDE}gpj.exe\x1b[2J\udc80"
    page = render_page(Head("vae score", name, name), [Section("outliers", name, "", [Note(name)])], name)
    assert page.count("a⟨U+202E⟩gpj.exe⟨U+001B⟩[2J⟨U+DC80⟩") >= 4
    page.encode()
