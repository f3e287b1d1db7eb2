"""Render blocks to one self-contained HTML file.

Jinja2 with autoescape: file names, keys and reasons are untrusted and must appear as text, never as markup. Opening the
page fetches nothing: images are data: URIs, the style sheet is inline, and there are no scripts.
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
    """Render a page: head, `sections` in order, footer."""
    style = files("jobs.report").joinpath("style.css").read_text(encoding="utf-8")
    template = _environment().get_template("page.html")
    # Only the style sheet, a constant file of this package, is passed unescaped.
    return template.render(head=head, sections=sections, footer=footer, style=Markup(style))


def write_page(output: Folder, page: str) -> str:
    """Write a rendered page as the report of a job, and return its address."""
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
