"""Render blocks to one self-contained HTML file.

Jinja2 with autoescape: file names, keys and reasons are untrusted and must appear as text, never as markup. Opening the
page fetches nothing from a network: images are data: URIs, and the style sheet is inline. There are no scripts, except
that of a gallery, which the page's policy names by its hash; it may load more, from the gallery's folder.
"""

import base64
import hashlib
from collections.abc import Sequence
from functools import cache
from importlib.resources import files

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from export.storage import Folder
from jobs.report.blocks import Gallery, Head, Section
from vae_core.text import printable_lines

REPORT = "report.html"


def render_page(head: Head, sections: Sequence[Section], footer: str = "") -> str:
    """Render a page: head, `sections` in order, footer."""
    has_gallery = any(isinstance(block, Gallery) for section in sections for block in section.blocks)
    style, script = _asset("style.css"), ""
    if has_gallery:
        style += _asset("gallery/gallery.css")
        script = _asset("gallery/logic.js") + _asset("gallery/page.js")
    template = _environment().get_template("page.html")
    # Only constant files of this package, and the JSON of a gallery, are passed unescaped.
    return template.render(
        head=head,
        sections=sections,
        footer=footer,
        style=Markup(style),
        script=Markup(script),
        policy=_policy(script),
    )


def _asset(name: str) -> str:
    return files("jobs.report").joinpath(name).read_text(encoding="utf-8")


def _policy(script: str) -> str:
    """The content security policy of a page with this script."""
    allowed = "'none'"
    if script:
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
        allowed = f"'sha256-{digest}' 'strict-dynamic'"
    return f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src {allowed}; form-action 'none'"


def write_page(output: Folder, page: str) -> str:
    """Write a rendered page as the report of a job, and return its address."""
    output.write_text(REPORT, page)
    return f"{output.url}/{REPORT}"


def _visible(value: object) -> object:
    """What stands in a page; file names, and texts of a bundle, may hold characters that turn the text around them."""
    return printable_lines(value) if isinstance(value, str) and not isinstance(value, Markup) else value


@cache
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("jobs.report", "."),
        autoescape=True,
        finalize=_visible,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
