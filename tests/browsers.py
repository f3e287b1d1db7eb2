"""A real browser for the tests of pages: an installed Chromium or Chrome, or the one that Playwright downloads."""

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from export.page.serve import PACKAGE, fetch_runtime

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


SOFTWARE_WEBGPU = ("--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader")
"""Options of a Chromium that computes WebGPU on the processor."""


@contextmanager
def browser(options: Sequence[str] = ("--disable-gpu",)) -> Iterator[Any]:
    """A headless browser; the test is skipped where there is none."""
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with api.sync_playwright() as playwright:
        found = [path for path in map(shutil.which, NAMES) if path]
        if not found and not Path(playwright.chromium.executable_path).exists():
            pytest.skip(f"no browser: none of {', '.join(NAMES)} is here, nor that of `playwright install chromium`")
        opened = playwright.chromium.launch(
            executable_path=found[0] if found else None,
            args=["--no-sandbox", *options],  # a container's root user has no sandbox
        )
        try:
            yield opened
        finally:
            opened.close()


def web_runtime() -> Path:
    """A folder with ONNX Runtime Web, fetched by npm once for all runs; the test is skipped where that fails."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "vae-core-tests" / PACKAGE
    try:
        fetch_runtime(cache)
    except RuntimeError as error:
        pytest.skip(str(error))
    return cache


COLOURS = """text => {
  let under = text;
  while (getComputedStyle(under).backgroundColor === "rgba(0, 0, 0, 0)") under = under.parentElement;
  return [getComputedStyle(text).color, getComputedStyle(under).backgroundColor];
}"""
"""The colours of an element's text and of what is under it, for `contrast`."""


def contrast(colours: Sequence[str]) -> float:
    """WCAG 2's contrast of two colours such as `rgb(0, 0, 0)`."""
    levels = []
    for colour in colours:
        channels = np.array([float(part) for part in colour[colour.index("(") + 1 : -1].split(",")[:3]]) / 255
        linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
        levels.append(float(linear @ [0.2126, 0.7152, 0.0722]))
    return (max(levels) + 0.05) / (min(levels) + 0.05)
