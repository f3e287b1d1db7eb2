"""The page itself: blocks in, one self-contained HTML file out.

Jinja2 with autoescape: file names, keys and reasons come from other people's data and are text, never markup.
Nothing is fetched when the page is opened: pictures are data: URIs, the style sheet is inline, there is no script.
"""

from collections.abc import Sequence
from functools import cache
from importlib.resources import files

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from export.storage import Folder
from jobs.report.blocks import Head, Section

REPORT = "report.html"


def render_page(head: Head, sections: Sequence[Section], footer: str = "") -> str:
    """The HTML of a page: its head, then `sections` in order, then a line of small print."""
    style = files("jobs.report").joinpath("style.css").read_text(encoding="utf-8")
    template = _environment().get_template("page.html")
    # The style sheet is ours and holds no data, so it alone is passed unescaped.
    return template.render(head=head, sections=sections, footer=footer, style=Markup(style))


def write_page(output: Folder, page: str) -> str:
    """Write a rendered page as a job's report, and return its address."""
    output.write_text(REPORT, page)
    return f"{output.url}/{REPORT}"


@cache
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("jobs.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
