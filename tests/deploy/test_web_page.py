"""The browser page, used as a person would: open a bundle, drop images, move sliders, interpolate."""

import base64
import hashlib
import json
import re
import shutil
import threading
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from browsers import COLOURS, SOFTWARE_WEBGPU, contrast, web_runtime
from browsers import browser as open_browser
from bundles import SHAPE, pictures
from export.bundle.format import SCORER, Bundle, write_bundle
from export.images.contract import ImageContract
from export.images.convert import fit, letterbox
from export.page import serve as page_server
from export.page import write_page
from export.page.serve import server
from export.pictures import encode_png
from export.runtime.agreement import compare
from export.runtime.scorer import Scorer
from export.storage import Folder
from export.targets.web import write_files
from jobs.report.wording import counted, number, p_value
from jobs.score.explain.reasons import highest_place, reason, summarise_aspects

Pixels = npt.NDArray[np.uint8]
CHANNELS, HEIGHT, WIDTH = SHAPE


@pytest.fixture(scope="module")
def runtime() -> Path:
    return web_runtime()


@pytest.fixture(scope="module")
def site(bundle: Path, runtime: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page, the bundle and one of a model of features, and ONNX Runtime Web."""
    from feature_bundles import contents

    path, features = tmp_path_factory.mktemp("site"), tmp_path_factory.mktemp("features")
    write_bundle(Folder.at(features), *contents())
    for name, source in (("pixels", bundle), ("features", features)):
        write_files(Bundle.open(str(source)), Folder.at(path / name))
    # SwiftShader compiles for a minute for the whole probe: of it, one image is left, as many as are scored.
    shutil.copytree(path / "pixels", path / "short")
    manifest = json.loads((path / "short" / "manifest.json").read_text())
    manifest["probe"]["real_images"] = 1
    for array in manifest["probe"]["arrays"].values():
        array["shape"][0] = 1
    (path / "short" / "manifest.json").write_text(json.dumps(manifest))
    write_page(Folder.at(path), ["pixels", "features"])
    (path / "runtime").symlink_to(runtime)
    return path


@pytest.fixture(scope="module")
def serve() -> Iterator[Any]:
    """Serves a folder: its address."""
    running = []

    def start(folder: Path) -> str:
        serving = server(folder)
        running.append(serving)
        threading.Thread(target=serving.serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{serving.server_port}/"

    yield start
    for serving in running:
        serving.shutdown()
        serving.server_close()


@pytest.fixture(scope="module")
def address(site: Path, serve: Any) -> str:
    return str(serve(site))


@pytest.fixture(scope="module")
def scorer(bundle: Path) -> Scorer:
    return Scorer(str(bundle))


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with open_browser(SOFTWARE_WEBGPU) as opened:
        yield opened


@pytest.fixture
def visit(chromium: Any) -> Iterator[Any]:
    """Opens an address and waits until the page says something final; it may not complain of anything."""
    contexts, errors = [], []

    def visit(address: str, **options: Any) -> Any:
        context = chromium.new_context(**({"viewport": {"width": 1280, "height": 900}} | options))
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(30_000)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
        page.on("dialog", lambda dialog: (errors.append(f"alert: {dialog.message}"), dialog.dismiss()))
        page.goto(address)
        page.wait_for_selector("#status[data-verdict], #status.problem")
        return page

    yield visit
    for context in contexts:
        context.close()
    assert not [error for error in errors if "status of 404" not in error]


def status(page: Any) -> str:
    return str(page.inner_text("#status"))


def drop(page: Any, files: dict[str, bytes], paste: bool = False) -> str:
    """Drop files on the page, or paste them; what it says once it has scored them."""
    script = """files => {
      const transfer = new DataTransfer();
      for (const [name, content] of files) {
        transfer.items.add(new File([Uint8Array.from(atob(content), (one) => one.charCodeAt(0))], name));
      }
      return transfer;
    }"""
    transfer = page.evaluate_handle(script, [[name, base64.b64encode(data).decode()] for name, data in files.items()])
    if paste:
        script = "clipboardData => document.dispatchEvent(new ClipboardEvent('paste', { clipboardData }))"
        transfer.evaluate(script)
    else:
        page.dispatch_event("#drop", "drop", {"dataTransfer": transfer})
    page.locator("#score-status", has_text="scored").wait_for()
    return str(page.inner_text("#score-status"))


def pixels(canvas: Any, channels: int = CHANNELS) -> Pixels:
    """What a canvas shows, [C, H, W]."""
    script = "one => [one.height, one.width, ...one.getContext('2d').getImageData(0, 0, one.width, one.height).data]"
    height, width, *flat = canvas.evaluate(script)
    return np.array(flat, np.uint8).reshape(height, width, 4)[..., :channels].transpose(2, 0, 1)


def levels(found: Pixels, expected: Pixels) -> int:
    """The largest difference."""
    return int(np.abs(found.astype(int) - expected.astype(int)).max())


def names(page: Any) -> list[str]:
    return [str(text) for text in page.locator(".card .source:first-of-type, .headline + .source").all_inner_texts()]


def check_scores(page: Any, scorer: Scorer, images: Pixels) -> None:
    """Drop images; their cards must say what `Scorer` computes, and why in the words of the reports."""
    said = drop(page, {f"{number}.png": encode_png(image) for number, image in enumerate(images)})
    assert said == f"{counted(len(images), 'image')} scored."
    scored, explained = scorer.score(images), scorer.explain(images)
    order = np.argsort(-scored["outlier_score"])
    assert names(page) == [f"{index}.png" for index in order]
    cards = page.locator(".card")
    found = {
        name: np.array([float(cards.nth(row).get_attribute(f"data-{short}")) for row in range(len(images))], np.float32)
        for name, short in (("outlier_score", "score"), ("p_value", "p"))
    }
    outputs = [output for output in scorer.bundle.outputs(SCORER) if output.name in found]
    differences = compare(found, {name: scored[name][order] for name in found}, outputs)
    assert all(each.ok for each in differences), differences
    statistics = scorer.bundle.statistics
    for row, index in enumerate(order):
        contributions, deviations = (
            {each.name: float(value) for each, value in zip(statistics, explained[name][index], strict=True)}
            for name in ("contributions", "deviations")
        )
        place = highest_place(explained["surprise"][index])
        why = reason(summarise_aspects(statistics, contributions, deviations, place))
        assert cards.nth(row).locator(".reason").inner_text() == why
        shown = cards.nth(row).locator("canvas")
        assert levels(pixels(shown.nth(0)), images[index]) == 0
        assert levels(pixels(shown.nth(1)), explained["reconstructed"][index]) <= 1


def test_a_person_opens_a_bundle_and_scores_images(visit: Any, address: str, scorer: Scorer) -> None:
    page = visit(address)
    graphs = scorer.bundle.manifest["graphs"]
    compared = 1 + sum(len(graphs[f"{name}.onnx"]["outputs"]) for name in ("scorer", "explainer", "encoder"))
    assert status(page) == f"This browser agrees with the bundle's probe in all {compared} outputs."
    assert page.locator("#probe-rows tr").count() == compared
    check_scores(page, scorer, np.concatenate([pictures(2, seed=7), 255 - pictures(1, seed=8)]))
    page.get_by_label("Order").select_option("newest first")
    assert names(page) == ["2.png", "1.png", "0.png"]
    page.get_by_role("button", name="Remove all").click()
    assert page.locator(".card").count() == 0


def test_webgpu_computes_the_same(visit: Any, address: str, scorer: Scorer) -> None:
    page = visit(f"{address}?bundle=short")
    if "WebGPU" not in page.locator("#provider option").all_inner_texts():
        pytest.skip("this Chromium has no WebGPU adapter, not even SwiftShader's")
    page.get_by_label("Runs with").select_option("WebGPU")
    page.wait_for_selector("#status[data-provider=webgpu]", timeout=120_000)
    assert page.get_attribute("#status", "data-verdict") == "agrees"
    assert "WebGPU" in page.inner_text("#figures")
    check_scores(page, scorer, pictures(1, seed=7))


def test_sliders_move_by_keyboard_and_redraw(visit: Any, address: str, scorer: Scorer) -> None:
    page = visit(address)
    code = scorer.bundle.probe["encoder.mean"][:1].copy()
    decoded, slider = page.locator("#decoded"), page.locator(".slider input").first
    page.wait_for_selector("#decoded[data-drawn='1']")
    assert levels(pixels(decoded), scorer.decode(code)[0]) <= 1
    dimension = int(slider.get_attribute("data-dimension"))
    slider.focus()
    for press in range(2, 5):
        page.keyboard.press("ArrowRight")
        page.wait_for_selector(f"#decoded[data-drawn='{press}']")
    moved = code.copy()
    moved[0, dimension] = float(slider.input_value())
    assert moved[0, dimension] == pytest.approx(code[0, dimension] + 0.15, abs=0.03)
    assert levels(pixels(decoded), scorer.decode(moved)[0]) <= 1
    page.get_by_role("button", name="Reset").click()
    page.wait_for_selector("#decoded[data-drawn='5']")
    assert levels(pixels(decoded), scorer.decode(code)[0]) <= 1
    page.get_by_role("button", name="Draw from the prior").click()
    page.wait_for_selector("#decoded[data-drawn='6']")
    assert levels(pixels(decoded), scorer.decode(code)[0]) > 1


def test_dimensions_are_ordered_by_what_they_tell(visit: Any, address: str, scorer: Scorer) -> None:
    page = visit(address)
    probe, real = scorer.bundle.probe, scorer.bundle.manifest["probe"]["real_images"]
    mean, log_variance = (probe[f"encoder.{name}"][:real].astype(float) for name in ("mean", "log_variance"))
    kl = (0.5 * (mean**2 + np.exp(log_variance) - 1 - log_variance)).mean(0)
    order = [f"z{dimension + 1}\n{number(kl[dimension], 2)} nats" for dimension in np.argsort(-kl)]
    assert page.locator(".slider label").all_inner_texts() == order


def test_draws_follow_the_prior(visit: Any, address: str, bundle: Path) -> None:
    page = visit(address)
    script = """async () => {
      const { fromAddress, openBundle } = await import("/bundle.js");
      const { draw, centre } = await import("/latents.js");
      const opened = await openBundle(fromAddress("pixels"));
      return [[...centre(opened)], Array.from({ length: 5000 }, () => [...draw(opened)])];
    }"""
    centre, drawn = map(np.array, page.evaluate(script))
    prior = Bundle.open(str(bundle)).prior
    weight, mean, factor = (prior.to_arrays()[name].astype(float) for name in ("log_weight", "mean", "factor"))
    weight = np.exp(weight)
    expected = weight @ mean
    second = np.einsum("k,kij->ij", weight, factor @ factor.swapaxes(1, 2) + mean[:, :, None] * mean[:, None])
    covariance = second - np.outer(expected, expected)
    np.testing.assert_allclose(centre, expected, atol=1e-5)
    deviation = np.sqrt(np.diag(covariance))
    assert (np.abs(drawn.mean(0) - expected) < 5 * deviation / np.sqrt(len(drawn))).all()
    # An entry of a sample covariance varies by about σ_i σ_j √(2/n), more where tails are heavier than a Gaussian's.
    assert (np.abs(np.cov(drawn.T) - covariance) < 10 * np.outer(deviation, deviation) / np.sqrt(len(drawn))).all()


def test_two_images_are_interpolated(visit: Any, address: str, scorer: Scorer) -> None:
    page = visit(address)
    images = pictures(2, seed=9)
    drop(page, {name: encode_png(image) for name, image in zip("ab", images, strict=True)}, paste=True)
    page.get_by_role("button", name="Interpolate to b").click()
    page.get_by_label("From", exact=True).select_option("a")
    page.wait_for_selector("#strip[data-between='image-0 image-1']")
    first, last = scorer.encode(images)[0]
    steps = page.locator("#strip canvas")
    expected = scorer.decode(np.stack([first, (first + last) / 2, last]))
    page.wait_for_selector("#mixed:not([data-busy])")
    for step, image in zip((0, 4, 8), expected, strict=True):
        assert levels(pixels(steps.nth(step)), image) <= 1
    assert levels(pixels(page.locator("#mixed")), expected[1]) <= 1
    page.get_by_label("Between", exact=True).focus()
    page.keyboard.press("End")
    assert page.inner_text("#between-value") == "100%"


def test_what_cannot_be_scored_is_named_as_text(visit: Any, address: str) -> None:
    page = visit(address)
    image = encode_png(pictures(1)[0])
    bomb = bytearray(image)
    bomb[16:24] = (60_000).to_bytes(4, "big") * 2
    files = {
        "<img src=x onerror=alert(1)>.png": image,
        "evil\N{RIGHT-TO-LEFT OVERRIDE}gpj.png": image,
        "notes.txt": b"no image",
        "<script>alert(2)</script>": b"",
        "cut.png": image[:60],
        "bomb.png": bytes(bomb),
    }
    assert drop(page, files) == "2 images scored; 4 files could not be."
    assert sorted(names(page)) == ["<img src=x onerror=alert(1)>.png", "evil⟨U+202E⟩gpj.png"]
    cannot = "this is not an image that the browser can decode"
    assert page.locator("#refused li").all_inner_texts() == [
        f"notes.txt {cannot}",
        f"<script>alert(2)</script> {cannot}",
        f"cut.png {cannot}",
        "bomb.png an image must have at most 64 Mpx, got 60000×60000",
    ]


def test_images_are_converted_as_vae_score_does(visit: Any, address: str) -> None:
    page = visit(address)
    generator = np.random.default_rng(0)
    photo = cv2.GaussianBlur(generator.integers(0, 256, (50, 64, 3), dtype=np.uint8), (5, 5), 2)
    assert drop(page, {"photo.png": encode_png(photo.transpose(2, 0, 1))}) == "1 image scored."
    assert f"Converted: RGB made grey; letterboxed from 64×50 to {WIDTH}×{HEIGHT}." in page.inner_text(".card")
    expected = fit(photo, ImageContract(*SHAPE, resize=True))
    assert levels(pixels(page.locator(".card canvas").first), expected) <= 1

    script = """async ([planes, channels, rows, columns, height, width]) => {
      const { letterbox } = await import("/images.js");
      return [...letterbox(Uint8Array.from(planes), channels, rows, columns, height, width)];
    }"""
    for rows, columns, height, width in [(7, 5, 20, 16), (40, 32, 20, 16), (33, 90, 20, 16), (20, 17, 64, 64)]:
        image = generator.integers(0, 256, (rows, columns, 3), dtype=np.uint8)
        planes = image.transpose(2, 0, 1).ravel().tolist()
        found = np.array(page.evaluate(script, [planes, 3, rows, columns, height, width]), np.uint8)
        boxed = letterbox(image, height, width).transpose(2, 0, 1)
        assert levels(found.reshape(boxed.shape), boxed) <= 1, (rows, columns, height, width)

    script = """async ([pixels, width, height, stored, channels]) => {
      const { recolour } = await import("/images.js");
      return [...recolour({ pixels: Uint8ClampedArray.from(pixels), width, height, channels: stored }, channels)];
    }"""
    colours = generator.integers(0, 256, (16, 16, 4), dtype=np.uint8)
    for stored in (1, 2, 3, 4):
        grey = np.repeat(colours[..., :1], 3, axis=2) if stored < 3 else colours[..., :3]
        alpha = colours[..., 3:] if stored in (2, 4) else np.full((16, 16, 1), 255, np.uint8)
        rgba = np.concatenate([grey, alpha], axis=2)
        own = {1: rgba[..., :1], 2: rgba[..., [0, 3]], 3: rgba[..., :3], 4: rgba}[stored]
        for channels in (1, 2, 3, 4):
            found = np.array(page.evaluate(script, [rgba.ravel().tolist(), 16, 16, stored, channels]), np.uint8)
            expected = fit(own, ImageContract(channels, 16, 16, resize=True))
            assert (found.reshape(expected.shape) == expected).all(), (stored, channels)


def test_the_page_has_the_colours_of_the_reports() -> None:
    own, reports = (
        [dict(re.findall(r"(--[\w-]+): ([^;]+);", block)) for block in re.findall(r":root \{(.*?)\}", css, re.DOTALL)]
        for css in (files(package).joinpath("style.css").read_text() for package in ("export.page", "jobs.report"))
    )
    for mine, theirs in zip(own[:2], reports[:2], strict=True):
        assert len(mine) > 8
        assert mine == {name: theirs[name] for name in mine}


def test_numbers_are_worded_as_in_the_reports(visit: Any, address: str) -> None:
    page = visit(address)
    generator = np.random.default_rng(0)
    values = [0.0, 1000.0, 0.001, 999.96, 1e-5, 9e-6, 1e12, -1234567.5]
    values += (generator.choice([-1, 1], 200) * 10 ** generator.uniform(-7, 13, 200)).tolist()
    chances = [1.0, 0.5, 1 / 801, *(10 ** generator.uniform(-6, 0, 50)).tolist()]
    script = """async ([values, chances]) => {
      const { number, pValue } = await import("/wording.js");
      return [values.flatMap((one) => [number(one), number(one, 2)]), chances.map(pValue)];
    }"""
    numbers, p_values = page.evaluate(script, [values, chances])
    assert numbers == [number(value, digits) for value in values for digits in (4, 2)]
    assert p_values == [p_value(value) for value in chances]


def test_a_model_of_features_scores_and_says_that_it_draws_nothing(visit: Any, address: str) -> None:
    page = visit(f"{address}?bundle=features")
    assert status(page).startswith("This browser agrees")
    assert "its decoder gives feature maps and not images" in page.inner_text("#explore")
    assert not page.locator("#decoded").is_visible()
    page.get_by_role("button", name="Try the bundle's own").click()
    page.locator("#score-status", has_text="8 images scored").wait_for()
    assert page.locator(".card").first.locator("canvas").count() == 2
    page.get_by_label("Bundle", exact=True).select_option("pixels")
    page.wait_for_selector("#decoded", state="visible")


def test_a_folder_is_opened_and_checked(visit: Any, address: str, site: Path, bundle: Path, tmp_path: Path) -> None:
    page = visit(address)
    shutil.copytree(site / "features", tmp_path / "own")
    page.locator("#folder").set_input_files(tmp_path / "own")
    page.locator("#kicker", has_text="features model of 32×40 RGB images").wait_for()
    weights = tmp_path / "own" / "weights.bin"
    weights.write_bytes(bytes([weights.read_bytes()[0] ^ 1]) + weights.read_bytes()[1:])
    for folder, sentence in [
        (tmp_path / "own", "weights.bin differs from its hash; copy the bundle again"),
        (bundle, "This bundle is not for a browser; convert it with `vae export --bundle BUNDLE --for web"),
    ]:
        page.locator("#folder").set_input_files(folder)
        page.locator("#status.problem", has_text=sentence).wait_for()


def test_texts_of_a_bundle_are_shown_as_text(visit: Any, address: str, site: Path, tmp_path: Path) -> None:
    shutil.copytree(site / "features", tmp_path / "own")
    manifest = json.loads((tmp_path / "own" / "manifest.json").read_text())
    manifest["model"]["family"] = "<b>a\N{RIGHT-TO-LEFT OVERRIDE}b</b>"
    (tmp_path / "own" / "manifest.json").write_text(json.dumps(manifest))
    page = visit(address)
    page.locator("#folder").set_input_files(tmp_path / "own")
    page.locator("#kicker", has_text="<b>a⟨U+202E⟩b</b> model of 32×40 RGB images").wait_for()


@pytest.mark.parametrize(
    ("part", "value", "problem"),
    [
        ("prior", None, "a part of it is missing"),
        ("files", {"scorer.onnx": None}, "files must have sizes and hashes"),
        ("probe", {"real_images": 10**9}, "the probe's images are missing"),
    ],
)
def test_a_damaged_manifest_is_refused_in_a_sentence(
    visit: Any, address: str, site: Path, tmp_path: Path, part: str, value: Any, problem: str
) -> None:
    manifest = json.loads((site / "features" / "manifest.json").read_text())
    manifest[part] = value if value is None else manifest[part] | value
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "manifest.json").write_text(json.dumps(manifest))
    page = visit(address)
    page.locator("#folder").set_input_files(tmp_path / "own")
    page.locator("#status.problem", has_text=f"manifest.json is not valid: {problem}").wait_for()


@pytest.mark.parametrize("port", ["http", "99999", None])
def test_a_port_that_cannot_be_served_is_an_error_in_a_sentence(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, port: str | None
) -> None:
    with server(tmp_path) as taken:
        monkeypatch.setattr("sys.argv", ["serve.py", port or str(taken.server_port)])
        monkeypatch.setattr(page_server, "fetch_runtime", lambda target: None)
        with pytest.raises(SystemExit, match="the port must be a free one, got"):
            page_server.main()


def test_no_image_is_scored_where_the_scorer_differs(visit: Any, address: str, site: Path, tmp_path: Path) -> None:
    page = visit(address)
    shutil.copytree(site / "pixels", tmp_path / "own")
    manifest = json.loads((tmp_path / "own" / "manifest.json").read_text())
    probe = bytearray((tmp_path / "own" / "probe.bin").read_bytes())
    at = manifest["probe"]["arrays"]["scorer.outlier_score"]["offset"]
    probe[at : at + 4] = np.float32(1.0 + np.frombuffer(probe, np.float32, 1, at)[0]).tobytes()
    manifest["files"]["probe.bin"]["sha256"] = hashlib.sha256(probe).hexdigest()
    (tmp_path / "own" / "probe.bin").write_bytes(probe)
    (tmp_path / "own" / "manifest.json").write_text(json.dumps(manifest))
    page.locator("#folder").set_input_files(tmp_path / "own")
    page.wait_for_selector("#status[data-verdict=differs]")
    assert status(page) == (
        "This browser computes scorer outlier_score differently from the runtime that made the bundle, "
        "so no image is scored."
    )
    assert not page.get_by_role("button", name="Choose images").is_visible()
    assert page.locator("#probe-rows tr", has_text="differs").count() == 1


def test_a_page_without_its_runtime_says_what_to_do(visit: Any, serve: Any, tmp_path: Path) -> None:
    write_page(Folder.at(tmp_path), [])
    page = visit(serve(tmp_path))
    assert "run `python serve.py` in the page's folder, which fetches it with npm" in status(page)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_fits_and_can_be_read(visit: Any, address: str, scheme: str) -> None:
    page = visit(address, color_scheme=scheme)
    drop(page, {f"{'a-long-name_' * 12}.png": encode_png(pictures(1)[0]), "notes.txt": b""})
    for width in (360, 1280):
        page.set_viewport_size({"width": width, "height": 800})
        assert page.evaluate("document.documentElement.scrollWidth") <= width
    for selector in (
        ".kicker", ".lead", "#status", "#score-status", ".meaning", "summary", "nav a", "button.main", "#draw",
        ".field label", ".headline small", ".source", ".reason", ".bar-value", ".slider small", "#refused", "footer",
    ):  # fmt: skip
        assert contrast(page.locator(f"{selector}:visible").first.evaluate(COLOURS)) >= 4.5, selector
    for control in page.locator("button, select, input").all():
        name = "one => one.labels?.[0]?.textContent || one.ariaLabel || one.textContent"
        assert control.evaluate(name).strip()
