"""A real browser for the tests of pages: an installed Chromium or Chrome, or the one that Playwright downloads."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


@contextmanager
def browser() -> Iterator[Any]:
    """A headless browser; the test is skipped where there is none."""
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with api.sync_playwright() as playwright:
        found = [path for path in map(shutil.which, NAMES) if path]
        if not found and not Path(playwright.chromium.executable_path).exists():
            pytest.skip(f"no browser: none of {', '.join(NAMES)} is here, nor that of `playwright install chromium`")
        opened = playwright.chromium.launch(
            executable_path=found[0] if found else None,
            args=["--no-sandbox", "--disable-gpu"],  # a container's root user has no sandbox
        )
        try:
            yield opened
        finally:
            opened.close()
