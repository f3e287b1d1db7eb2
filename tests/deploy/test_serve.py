"""The Ray Serve application in deploy/serve.py, on a real local Serve."""

import asyncio
import base64
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from export.runtime.scorer import Scorer
from export.storage import Folder
from gaussian_bundle import SHAPE, draw_images, write_gaussian_bundle
from image_files import encode
from prometheus import samples, total
from vae_core.errors import UserError

pytest.importorskip("starlette", reason="deploy/serve.py needs the extra serve")
aiohttp = pytest.importorskip("aiohttp")

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of Ray Serve about its own options
REQUESTS = 1000


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@pytest.fixture
def settings() -> type:
    from deploy.serve import Settings

    return Settings


def test_settings_come_from_arguments_then_from_the_environment(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VAE_BUNDLE", "s3://bucket/bundle")
    monkeypatch.setenv("VAE_BATCH_SIZE", "7")
    monkeypatch.setenv("VAE_RESIZE", "true")
    found = settings.read({"batch_size": "9", "wait_seconds": 1})
    assert (found.bundle, found.batch_size, found.wait_seconds, found.resize) == ("s3://bucket/bundle", 9, 1.0, True)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({}, "give the bundle"),
        ({"bundle": "b", "batch": 3}, "batch"),
        ({"bundle": "b", "batch_size": 0}, "batch_size must be at least 1"),
        ({"bundle": "b", "batch_size": "many"}, "batch_size"),
        ({"bundle": "b", "batch_size": "1.5"}, "batch_size must be an integer"),
        ({"bundle": "b", "resize": "2"}, "resize must be true or false"),
        ({"bundle": "b", "fpr": 2.0}, "fpr must be between 0 and 1"),
        ({"bundle": "b", "provider": "tpu"}, "provider"),
    ],
)
def test_impossible_settings_are_refused(settings: Any, arguments: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        settings.read(arguments)


@pytest.mark.parametrize(
    ("content_type", "body", "sentence"),
    [
        ("Application/JSON", b"{}", "the JSON must be"),
        ("application/json", b"[" * 100_000, "the JSON must be"),
        ("application/json", b'{"image": "%"}', "the JSON must be"),
        ("multipart/form-data; boundary=x", b"--x--", "the body must be the image file itself"),
    ],
)
def test_a_body_without_an_image_is_refused_in_a_sentence(content_type: str, body: bytes, sentence: str) -> None:
    from starlette.requests import Request

    from deploy.serve import BadRequest, _image_of

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body}

    request = Request({"type": "http", "headers": [(b"content-type", content_type.encode())]}, receive)
    with pytest.raises(BadRequest, match=sentence):
        asyncio.run(_image_of(request))


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("served")
    write_gaussian_bundle(Folder.at(folder))
    return folder


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    """Ordinary ones, and white ones, which are flagged."""
    return np.concatenate([draw_images(180, seed=9), np.full((20, *SHAPE), 255, np.uint8)])


@pytest.fixture
def server(bundle: Path, ray_cluster: None) -> Iterator[str]:
    """The address of the application, with one replica that gathers requests for a while."""
    from ray import serve

    from deploy.serve import application

    port = free_port()
    serve.start(http_options={"host": "127.0.0.1", "port": port})
    serve.run(application({"bundle": str(bundle), "batch_size": "64", "wait_seconds": "0.05"}))
    yield f"http://127.0.0.1:{port}/"
    serve.shutdown()


async def post(session: Any, address: str, body: bytes, content_type: str = "image/png") -> tuple[int, dict[str, Any]]:
    async with session.post(address, data=body, headers={"content-type": content_type}) as response:
        return response.status, await response.json()


async def drive(address: str, files: list[bytes]) -> dict[str, Any]:
    """What a client does: a thousand images at once, one as JSON, bad ones, and the description."""
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as session:
        found: dict[str, Any] = {}
        found["thousand"] = await asyncio.gather(
            *(post(session, address, files[number % len(files)]) for number in range(REQUESTS))
        )
        encoded = b'{"image": "' + base64.b64encode(files[0]) + b'"}'
        found["json"] = await post(session, address, encoded, "application/json")
        found["no image"] = await post(session, address, b"no image")
        found["small"] = await post(session, address, encode(np.zeros((1, 3, 50), np.uint8)))
        found["no json"] = await post(session, address, b'{"picture": 3}', "application/json")
        found["jpeg"] = await post(session, address, encode(draw_images(1, seed=1)[0], "JPEG"), "image/jpeg")
        async with session.get(address) as response:
            found["description"] = await response.json()
        async with session.get(f"{address}-/healthz") as response:
            found["healthy"] = response.status
    return found


@pytest.mark.ray
def test_a_thousand_requests_at_once_get_the_scores_of_scorer(server: str, bundle: Path, images: np.ndarray) -> None:
    found = asyncio.run(drive(server, [encode(image) for image in images]))
    scorer = Scorer(str(bundle), provider="cpu")
    expected = scorer.score(images)

    assert [status for status, _ in found["thousand"]] == [200] * REQUESTS
    for name, values in expected.items():
        served = [
            answer["score"] if name == "outlier_score" else answer.get(name, answer["statistics"].get(name))
            for _, answer in found["thousand"]
        ]
        wanted = np.resize(values, REQUESTS)
        tolerance = 1e-4 if name == "outlier_score" else 1e-5  # promise 1; a p-value is of its score
        if name != "p_value":
            assert np.allclose(served, wanted, rtol=tolerance, atol=tolerance), name
    flags = [answer["is_outlier"] for _, answer in found["thousand"][: len(images)]]
    assert flags == [answer["p_value"] <= 0.01 for _, answer in found["thousand"][: len(images)]]
    assert all(flags[180:])
    for _, answer in found["thousand"]:
        assert (answer["reason"] is not None) == answer["is_outlier"]
        assert answer["reason"] is None or answer["reason"].endswith(".")

    assert found["json"] == found["thousand"][0]
    assert found["no image"][0] == 400
    assert "not an image in a supported format" in found["no image"][1]["error"]
    assert found["small"][0] == 400
    assert "set resize" in found["small"][1]["error"]
    assert found["no json"][0] == 400
    assert "base64" in found["no json"][1]["error"]
    assert found["jpeg"][0] == 200
    assert found["description"]["bundle"] == scorer.bundle.hash
    assert found["healthy"] == 200

    counted = {"name": "ray_serve_deployment_request_counter_total", "deployment": "scores"}
    metrics = samples("ray_serve", until=lambda found: total(found, **counted) >= REQUESTS)
    assert total(metrics, **counted) >= REQUESTS
    batches = total(metrics, "ray_serve_actual_batch_size_count", deployment="scores")
    assert REQUESTS / 64 <= batches < REQUESTS / 2
