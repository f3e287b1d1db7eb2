"""A report with many flagged images: what its gallery costs the job, and the browser that opens it from disk.

    python -m benchmarks.report --flagged 10000
        [--pixels 640 480] [--browser PATH] [--keep FOLDER]

Photographs of noise and gradients, JPEG in Parquet, are read again, reduced and compared; the page is written, opened
in a headless Chromium without a network, sorted, filtered, and scrolled from end to end. Usable means that pictures are
painted and a key moves the focus. Memory is the peak of the tab's process, all that it ever held resident.
"""

import argparse
import resource
import shutil
import tempfile
import time
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from export.images.contract import ImageContract
from export.storage import Folder
from jobs.images.source import find_images
from jobs.report.blocks import Head, Section
from jobs.report.page import render_page, write_page
from jobs.score.gallery.make import Columns, make_gallery
from jobs.score.gallery.originals import find_pieces
from jobs.score.gallery.pictures import picture_images

_SCENES = 500  # distinct photographs
_BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_REASONS = ("latent code", "likelihood of the pixels", "reconstruction", "tone, colour and texture")


def write_photographs(path: Path, count: int, width: int, height: int) -> None:
    """`count` photographs in row groups of 1,000, one in twenty nearly the same as another."""
    rng = np.random.default_rng(0)
    scenes = []
    for _ in range(_SCENES):
        coarse = rng.integers(0, 256, (rng.integers(4, 12), rng.integers(4, 12), 3), dtype=np.uint8)
        scenes.append(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC).astype(np.float32))
    schema = pa.schema([("image", pa.binary())])
    with pq.ParquetWriter(path, schema) as writer:
        for start in range(0, count, 1000):
            images = []
            for number in range(start, min(start + 1000, count)):
                mixed = scenes[number % _SCENES] + scenes[(number * 7 + number // _SCENES) % _SCENES]
                if number % 20 == 19:
                    mixed = scenes[number % 40] * 2
                noisy = np.clip(mixed / 2 + rng.normal(0, 6, (height, 1, 3)), 0, 255).astype(np.uint8)
                images.append(cv2.imencode(".jpg", noisy, [cv2.IMWRITE_JPEG_QUALITY, 90])[1].tobytes())
            writer.write_table(pa.table({"image": images}, schema))


def write_report(source: Path, output: Path, count: int) -> tuple[str, float]:
    """The address of a report with all photographs, and the seconds that its gallery took."""
    images = find_images([str(source)])
    scores = np.sort(np.random.default_rng(1).gamma(4, 6, count).astype(np.float32))[::-1]
    order = np.random.default_rng(2).permutation(count)
    rows = pa.table(
        {
            "file": [str(source)] * count,
            "row": order,
            "outlier_score": scores,
            "p_value": np.linspace(0.0001, 0.01, count),
            "camera": [f"camera {number % 5}" for number in range(count)],
        }
    )
    began = time.perf_counter()
    pieces = find_pieces(images.pieces, rows)
    pictured = picture_images(pieces, ImageContract(3, 64, 64, resize=True))
    named = [
        None
        if each is None
        else each._replace(
            reason=f"Its {_REASONS[number % 4]} is {3 + number % 9} σ more unusual than usual.",
            aspect=_REASONS[number % 4],
        )
        for number, each in enumerate(pictured)
    ]
    folder = Folder.at(output)
    gallery = make_gallery(folder, rows, pieces, named, Columns("p_value", ("camera",), count // 2))
    page = render_page(
        Head("Outlier report", f"{count:,} flagged images", "Synthetic."),
        [Section("flagged", "Flagged images", "All synthetic.", [gallery])],
    )
    address = write_page(folder, page)
    return Path(address).as_uri(), time.perf_counter() - began


def open_report(address: str, browser: str | None) -> dict[str, float]:
    """Seconds and MB of a headless browser that opens the report."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=browser, args=["--no-sandbox", "--disable-gpu"])
        context = opened.new_context(viewport={"width": 1400, "height": 1000}, offline=True)
        page = context.new_page()
        began = time.perf_counter()
        page.goto(address)
        page.wait_for_selector(".gallery.ready")
        _until(page, _PAINTED)
        page.locator(".shot").first.focus()
        page.keyboard.press("ArrowRight")
        _until(page, "document.activeElement.dataset.card === '1'")
        found = {"seconds until usable": time.perf_counter() - began}
        found["MB of the tab when usable"] = _megabytes(opened)
        found["elements of the page"] = page.evaluate("document.querySelectorAll('*').length")
        began = time.perf_counter()
        page.get_by_label("Order").select_option("name")
        _until(page, _PAINTED)
        found["seconds to sort by name"] = time.perf_counter() - began
        began = time.perf_counter()
        page.get_by_label("Reason").select_option("1")
        _until(page, _PAINTED)
        found["seconds to filter by a reason"] = time.perf_counter() - began
        page.get_by_label("Reason").select_option("-1")
        page.get_by_label("Order").select_option("rank")
        began = time.perf_counter()
        page.locator(".shot").first.focus()
        last = int(page.locator(".gallery-grid").get_attribute("aria-rowcount") or 0)
        steps = 0
        while page.evaluate("Number(document.activeElement.closest('.gallery-row').ariaRowIndex)") < last:
            page.keyboard.press("PageDown")
            _until(page, _PAINTED)
            steps += 1
        found[f"seconds to page through all, {steps} pages"] = time.perf_counter() - began
        began = time.perf_counter()
        page.keyboard.press("a")
        _until(page, "!document.querySelector('[data-part=csv]').disabled")
        found["seconds to select all"] = time.perf_counter() - began
        found["MB of the tab at most"] = _megabytes(opened)
        opened.close()
    return found


# Every picture in view.
_PAINTED = """[...document.querySelectorAll('.shot canvas')].every(one => one.classList.contains('painted'))"""


def _until(page: Any, expression: str) -> None:
    for _ in range(6000):
        if page.evaluate(expression):
            return
        page.wait_for_timeout(5)
    raise TimeoutError(expression)


def _megabytes(browser: Any) -> float:
    """Peak resident memory of the largest renderer."""
    session = browser.new_browser_cdp_session()
    processes = session.send("SystemInfo.getProcessInfo")["processInfo"]
    session.detach()
    peaks = []
    for process in processes:
        if process["type"] == "renderer":
            status = Path(f"/proc/{process['id']}/status").read_text()
            peaks.append(int(status.split("VmHWM:")[1].split()[0]) / 1024)
    return max(peaks)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--flagged", type=int, default=10_000)
    parser.add_argument("--pixels", type=int, nargs=2, default=(640, 480), metavar=("WIDTH", "HEIGHT"))
    parser.add_argument("--browser", default=next(filter(None, map(shutil.which, _BROWSERS)), None))
    parser.add_argument("--keep", type=Path, help="folder for the report, which is otherwise deleted")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        output = options.keep or Path(scratch) / "report"
        source = Path(scratch) / "photographs.parquet"
        # In a process of its own: its memory is not the job's.
        maker = get_context("spawn").Process(target=write_photographs, args=(source, options.flagged, *options.pixels))
        maker.start()
        maker.join()
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        address, seconds = write_report(source, output, options.flagged)
        after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        files = [path for path in output.rglob("*") if path.is_file()]
        size = "×".join(map(str, options.pixels))
        print(f"{options.flagged:,} flagged photographs of {size}")
        print(
            f"  seconds to read, reduce, group and write: {seconds:.1f} ({options.flagged / seconds:,.0f} per second)"
        )
        print(f"  MB that the job's memory grew by at most: {after - before:.0f}")
        print(f"  files: {len(files)}, {sum(path.stat().st_size for path in files) / 1e6:.1f} MB")
        for name, value in open_report(address, options.browser).items():
            print(f"  {name}: {value:,.0f}" if "seconds" not in name else f"  {name}: {value:.2f}")


if __name__ == "__main__":
    main()
