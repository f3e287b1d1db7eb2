"""The gallery of a whole job: the pictures and reasons of its flagged images."""

import base64
import json
import re
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest

from browsers import browser
from export.bundle.format import Bundle
from image_files import LAYOUTS, encode, write_parquet
from jobs.bulk.run import Totals
from jobs.score.finish import conclude
from jobs.score.gallery import pictures
from jobs.score.gallery.thumbnails import frame
from jobs.score.job import score
from jobs.score.options import ScoreOptions
from jobs.score.plan import ScoreJob
from scored import outliers_and_blobs, read_scores

COUNT = 150


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    """As `scored` has them; two outliers are there twice."""
    found = outliers_and_blobs(COUNT)
    found[[7, 8]] = found[[0, 5]]
    return found


@pytest.fixture
def source(tmp_path: Path, images: np.ndarray) -> str:
    columns = {"key": [f"k{i}" for i in range(COUNT)]}
    return write_parquet(tmp_path / "in/images.parquet", *LAYOUTS["packed"](images), row_group_size=40, **columns)


def run(bundle: Path, source: str, output: Path, **options: Any) -> dict[str, Any]:
    chosen: dict[str, Any] = {"engine": "local", "unit_rows": 30, "fpr": 0.05, "explain": 8, **options}
    return score(ScoreOptions(bundle=str(bundle), images=(source,), output=str(output), **chosen))


def content(output: Path) -> tuple[dict[str, Any], list[str | None]]:
    """The data and pictures of a gallery that is in its page."""
    found = re.search(r'<script type="application/json">(.*?)</script>', (output / "report.html").read_text())
    assert found is not None
    both = json.loads(found[1])
    return both["data"], both["pictures"]


def test_it_shows_the_flagged_images(tmp_path: Path, bundle: Path, source: str, images: np.ndarray) -> None:
    summary = run(bundle, source, tmp_path / "out", key="key")
    data, shown = content(tmp_path / "out")
    scores = read_scores(tmp_path / "out")
    order = np.argsort(-scores["outlier_score"].to_numpy(), kind="stable")[: summary["flagged"]]
    assert data["row"] == order.tolist()
    assert data["extras"] == [{"name": "key", "values": [f"k{index}" for index in order.tolist()]}]
    assert sum(data["discovery"]) == summary["discoveries"]
    assert data["link"] is None  # a browser opens no row of Parquet
    for index, picture in zip(order, shown, strict=True):
        assert picture is not None
        decoded = cv2.imdecode(np.frombuffer(base64.b64decode(picture.partition(",")[2]), np.uint8), -1)
        assert np.array_equal(decoded, images[index, 0])
    ranks = {row: rank for rank, row in enumerate(data["row"])}
    for copy, original in ((7, 0), (8, 5)):
        assert data["leader"][ranks[copy]] == data["leader"][ranks[original]] == min(ranks[copy], ranks[original])
    assert len(set(data["leader"])) == len(order) - 2


def test_reasons_are_those_of_the_explanations(
    tmp_path: Path, bundle: Path, source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pictures, "_BATCH", 7)
    run(bundle, source, tmp_path / "out", explain=25)
    data, _ = content(tmp_path / "out")
    explained = pq.read_table(tmp_path / "out/explanations.parquet")
    assert data["reason"][:25] == explained["reason"].to_pylist()
    statistics = {each.name: each.aspect for each in Bundle.open(str(bundle)).statistics}
    aspects = next(kind for kind in data["kinds"] if kind["name"] == "Reason")
    for rank, row in enumerate(explained["contributions"].to_pylist()):
        total: dict[str, float] = {}
        for name, value in row.items():
            total[statistics[name]] = total.get(statistics[name], 0) + value
        assert aspects["values"][aspects["of"][rank]] == max(total, key=lambda aspect: total[aspect])


def test_image_files_are_linked_and_sorted_into_folders(tmp_path: Path, bundle: Path, images: np.ndarray) -> None:
    for index, image in enumerate(images[:40]):
        form = "BMP" if index % 2 else "PNG"
        path = tmp_path / f"in/{'even' if index % 4 else 'odd'}/{index:02d}.{form.lower()}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode(image, form))
    run(bundle, str(tmp_path / "in"), tmp_path / "out")
    data, _ = content(tmp_path / "out")
    assert set(data["row"]) == {None}
    assert data["link"] == "../in/"
    by_name = {kind["name"]: [kind["values"][value] for value in kind["of"]] for kind in data["kinds"]}
    for index, number in enumerate(data["file"]):
        name = data["names"][number]
        assert by_name["Folder"][index] == name.split("/")[0] + "/"
        assert by_name["Format"][index] == ("PNG" if name.endswith("png") else "BMP")
        assert data["shown"][index][2] == "16×20"
    page = (tmp_path / "out/report.html").read_text()
    assert "row 0" not in page


def test_images_that_are_gone_are_counted(tmp_path: Path, bundle: Path, images: np.ndarray) -> None:
    (tmp_path / "in").mkdir()
    for index, image in enumerate(images[:40]):
        (tmp_path / f"in/{index:02d}.png").write_bytes(encode(image))
    options = ScoreOptions(bundle=str(bundle), images=(str(tmp_path / "in"),), output=str(tmp_path / "out"), fpr=0.05)
    job = ScoreJob.plan(options, Bundle.open(str(bundle)))
    score(options)
    (tmp_path / "in/00.png").unlink()
    (tmp_path / "in/05.png").write_bytes(encode(images[5, :, :10]))  # of another shape
    conclude(job, Totals("local", 1, 1, 40, 40, 0, 0.0, 1.0))
    data, shown = content(tmp_path / "out")
    gone = {f"{name.removesuffix('.png')}" for name, picture in zip(data["names"], shown, strict=True) if not picture}
    assert gone == {"00", "05"}
    assert "2 images can no longer be read." in (tmp_path / "out/report.html").read_text()


def test_images_scored_by_tiles_have_the_worst_tile_framed(tmp_path: Path) -> None:
    image = np.zeros((64, 128, 1), np.uint8)
    framed = frame(image, (100, 400), 200, (640, 1280))  # an image ten times as large
    assert framed.shape == (64, 128, 3)
    rows, columns = np.nonzero(framed[..., 0])
    assert (rows.min(), columns.min()) == (9, 39)
    assert (rows.max(), columns.max()) == (30, 60)
    assert not image.any()


def test_the_report_opens_in_a_browser(tmp_path: Path, bundle: Path, source: str) -> None:
    summary = run(bundle, source, tmp_path / "out")
    complaints: list[str] = []
    with browser() as opened:
        page = opened.new_page()
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto((tmp_path / "out/report.html").as_uri())
        page.wait_for_selector(".gallery.ready")
        count = summary["flagged"]
        assert page.locator(".gallery-status").inner_text().startswith(f"{count} of {count} images · {count - 2} cards")
    assert complaints == []
