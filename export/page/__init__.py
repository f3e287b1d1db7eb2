"""The browser page: static files that open what `vae export --for web` writes, score images and draw from the model."""

import json
from collections.abc import Sequence
from importlib.resources import files

from export.storage import Folder

FILES = (
    "index.html",
    "style.css",
    "page.js",
    "bundle.js",
    "dom.js",
    "engine.js",
    "explorer.js",
    "files.js",
    "images.js",
    "latents.js",
    "pictures.js",
    "probe.js",
    "reasons.js",
    "scoring.js",
    "session.js",
    "verdict.js",
    "wording.js",
    "worker.js",
    "serve.py",
)
MODELS = "models.json"


def write_page(folder: Folder, models: Sequence[str]) -> None:
    """Write the page, beside which the folders `models` of `vae export --for web` lie; the first is opened at start."""
    for name in FILES:
        folder.write(name, files(__name__).joinpath(name).read_bytes())
    folder.write_text(MODELS, json.dumps(list(models)) + "\n")
