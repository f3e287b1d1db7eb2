"""Score images over HTTP with Ray Serve: one file, one application.

    serve run deploy.serve:application bundle=bundles/photos
    curl --data-binary @photo.jpg http://localhost:8000/

A request is one image: the bytes of a JPEG, PNG or any other file that `vae score` reads, or JSON,
`{"image": "…base64…"}`. The answer is JSON:

    {"score": 3.2, "p_value": 0.0005, "is_outlier": true, "reason": "Its pixels are …", "statistics": {"kl": 21.3, …}}

`reason` is null unless the image is an outlier. An image that cannot be used is answered with status 400 and
`{"error": "…"}`, a sentence. Requests that wait are scored together, which changes no score. `GET /` describes the
bundle, once a replica has opened and verified it and is ready; `/-/healthz` is Serve's own health check.

Settings are arguments, as above or under `args` in a Serve configuration file, or environment variables: `bundle` is
VAE_BUNDLE, and so on; see `Settings`. Number and resources of replicas are Serve's `num_replicas`, `ray_actor_options`.
"""

import asyncio
import base64
import dataclasses
import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from ray import serve
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from export.bundle.format import Bundle
from export.guarantees.p_values import P_VALUE, SCORE
from export.images.contract import MAX_ENCODED_BYTES, ImageContract
from export.images.decode import decode_batch
from export.runtime.device import Provider
from export.runtime.scorer import Scorer
from jobs.score.explain.explanation import explain_images
from vae_core.config import from_json, require
from vae_core.errors import UserError

Image = npt.NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Settings of the application."""

    bundle: str
    """Path or URL of the bundle."""
    bundle_hash: str | None = None
    """Refuse any bundle but that of this hash."""
    provider: Provider = "auto"
    """Where a replica scores: `cpu`, `cuda`, or `auto`, CUDA where the replica has a GPU."""
    batch_size: int = 64
    """Images that are scored together, at most."""
    wait_seconds: float = 0.005
    """How long an image waits for others, at most."""
    fpr: float = 0.01
    """Images with a p-value of at most this are outliers, and their answers have a reason."""
    resize: bool = False
    """Letterbox images of another size and convert other channel counts, as `vae score --resize` does."""

    def __post_init__(self) -> None:
        providers = get_args(Provider)
        require(self.provider in providers, "provider", self.provider, f"one of {', '.join(providers)}")
        require(self.batch_size >= 1, "batch_size", self.batch_size, "at least 1")
        require(self.wait_seconds >= 0, "wait_seconds", self.wait_seconds, "at least 0")
        require(0 <= self.fpr <= 1, "fpr", self.fpr, "between 0 and 1")

    @classmethod
    def read(cls, arguments: Mapping[str, Any]) -> "Settings":
        """The settings, from arguments, else from environment variables; text is read as the type of its field.

        Raises:
            UserError: there is no bundle, a name is unknown or a value impossible.
        """
        values = dict(arguments)
        for field in dataclasses.fields(cls):
            value = values.get(field.name, os.environ.get(f"VAE_{field.name.upper()}"))
            if value is not None:
                values[field.name] = _typed(value, type(field.default))
        if "bundle" not in values:
            raise UserError("give the bundle: bundle=PATH, or VAE_BUNDLE in the environment")
        return from_json(cls, values, "the settings of deploy/serve.py")


def _typed(value: Any, kind: type) -> Any:
    if not isinstance(value, str) or kind not in (int, float, bool):
        return value
    try:
        return json.loads(value)
    except ValueError:
        return value  # which is refused by its name


class BadRequest(Exception):
    """The request cannot be answered; the message says why, in a sentence."""

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


@serve.deployment(name="scores")
class Scores:
    """A replica: a bundle, opened once."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        bundle = Bundle.open(settings.bundle, settings.bundle_hash)
        bundle.refuse_tiling("deploy/serve.py")
        self._contract = ImageContract(*bundle.shape, resize=settings.resize or bundle.resizes)
        self._scorer = Scorer(bundle, provider=settings.provider, batch_size=settings.batch_size)
        self._score.set_max_batch_size(settings.batch_size)
        self._score.set_batch_wait_timeout_s(settings.wait_seconds)
        # The first run of each graph is slow; and what a bundle cannot score, it cannot serve.
        self._answers(bundle.examples[:1])
        self._scorer.explain(bundle.examples[:1])

    async def __call__(self, request: Request) -> Response:
        """Answer a request: an image to score, or GET for a description."""
        if request.method == "GET":
            return JSONResponse(self._description())
        try:
            if request.method != "POST":
                raise BadRequest(f"the method must be POST or GET, got {request.method}", 405)
            data = await _image_of(request)
            image = await asyncio.to_thread(self._decode, data)
            answer: dict[str, Any] = await self._score(image)
            if answer["score"] is None:
                raise BadRequest("the outlier score is not finite")
        except BadRequest as error:
            return JSONResponse({"error": str(error)}, error.status)
        return JSONResponse(answer)

    @serve.batch
    async def _score(self, images: list[Image]) -> list[dict[str, Any]]:
        """Score the images of several requests together; in a thread, so that others can be decoded meanwhile."""
        return await asyncio.to_thread(self._answers, np.stack(images))

    def _decode(self, data: bytes) -> Image:
        """The image [C,H,W] in the bytes of a file, as `vae score` decodes it."""
        decoded = decode_batch(pa.array([data], pa.large_binary()), self._contract)
        for reason in decoded.reasons.values():
            raise BadRequest(reason.replace("use --resize", "set resize"))
        image: Image = decoded.images[0]
        return image

    def _answers(self, images: Image) -> list[dict[str, Any]]:
        """The answer for each image of a batch [N,C,H,W]."""
        found = self._scorer.score(images)
        flagged = np.flatnonzero(found[P_VALUE] <= self._settings.fpr)
        reasons: dict[int, str] = {}
        if len(flagged):
            rows: list[dict[str, Any]] = [{} for _ in flagged]
            explained = explain_images(self._scorer, images[flagged], rows, range(1, len(flagged) + 1))
            reasons = {int(row): each.reason for row, each in zip(flagged, explained, strict=True)}
        columns = {name: values.tolist() for name, values in found.items()}
        statistics = [name for name in columns if name not in (SCORE, P_VALUE)]
        return [
            {
                "score": _finite(columns[SCORE][row]),
                "p_value": _finite(columns[P_VALUE][row]),
                "is_outlier": row in reasons,
                "reason": reasons.get(row),
                "statistics": {name: _finite(columns[name][row]) for name in statistics},
            }
            for row in range(len(images))
        ]

    def _description(self) -> dict[str, Any]:
        bundle = self._scorer.bundle
        return {
            "bundle": bundle.hash,
            "image": bundle.manifest["image"],
            "statistics": bundle.manifest["statistics"],
            "provider": self._scorer.provider,
            "settings": dataclasses.asdict(self._settings),
        }


def application(arguments: dict[str, Any]) -> serve.Application:
    """The application, for `serve run` and Serve's configuration files.

    Raises:
        UserError: a setting is missing, unknown or impossible.
    """
    settings = Settings.read(arguments)
    # One batch is scored while the next ones gather.
    deployment = Scores.options(
        max_ongoing_requests=4 * settings.batch_size,
        ray_actor_options={"num_cpus": 1, "num_gpus": int(settings.provider == "cuda")},
    )
    return deployment.bind(settings)


async def _image_of(request: Request) -> bytes:
    """The bytes of the image file in a request."""
    kind = request.headers.get("content-type", "").lower()
    if kind.startswith("multipart/"):
        raise BadRequest("the body must be the image file itself, as `curl --data-binary` sends it, got a form")
    data = bytearray()
    async for chunk in request.stream():
        data += chunk
        if len(data) > MAX_ENCODED_BYTES:
            raise BadRequest(f"the body must have at most {MAX_ENCODED_BYTES:,} bytes", 413)
    if not kind.startswith("application/json"):
        return bytes(data)
    try:
        return base64.b64decode(json.loads(data)["image"], validate=True)
    except (ValueError, KeyError, TypeError, RecursionError) as error:  # binascii's errors are ValueErrors
        raise BadRequest('the JSON must be {"image": "…"}, with the bytes of an image file in base64') from error


def _finite(value: float) -> float | None:
    """The number; JSON has none that is not finite."""
    return value if math.isfinite(value) else None
