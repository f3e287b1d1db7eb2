"""How long the browser page takes to redraw an image after a slider moves, in headless Chromium with WebAssembly.

    python -m benchmarks.web_page FOLDER      # a folder that `vae export --for web` wrote, with runtime/ (see serve.py)

Prints the median and the 95% quantile over key presses on the first slider, each from the event to the drawn pixels.
"""

import shutil
import sys
import threading
from pathlib import Path

import numpy as np
from playwright.sync_api import sync_playwright

from export.page.serve import fetch_runtime, server

PRESSES, WARM_UP = 60, 10


def main(folder: Path, query: str = "") -> None:
    """Serve the folder, press the arrow keys, print the times."""
    fetch_runtime(folder / "runtime")
    serving = server(folder)
    threading.Thread(target=serving.serve_forever, daemon=True).start()
    times = []
    with sync_playwright() as playwright:
        path = shutil.which("chromium") or shutil.which("google-chrome")
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page()
        page.goto(f"http://127.0.0.1:{serving.server_port}/{query}")
        page.wait_for_selector("#decoded[data-drawn]")
        kicker, latents = page.inner_text("#kicker"), page.locator(".slider").count()
        page.locator(".slider input").first.focus()
        for press in range(PRESSES):
            before = int(page.get_attribute("#decoded", "data-drawn") or 0)
            page.keyboard.press("ArrowRight" if press % 20 < 10 else "ArrowLeft")
            page.wait_for_selector(f"#decoded[data-drawn='{before + 1}']")
            times.append(float(page.get_attribute("#decoded", "data-milliseconds") or "nan"))
        browser.close()
    serving.shutdown()
    measured = np.array(times[WARM_UP:])
    print(f"{kicker} · {latents} sliders")
    print(f"redraw: median {np.median(measured):.1f} ms, 95% quantile {np.quantile(measured, 0.95):.1f} ms")


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
