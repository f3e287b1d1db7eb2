"""The model card says what training maximised."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from export.bundle.card import render
from export.bundle.format import Bundle
from export.storage import Folder
from gaussian_bundle import write_gaussian_bundle

HISTORY = [
    {"epoch": 1, "validation_elbo": -90.0, "validation_iwae": -85.0},
    {"epoch": 2, "validation_elbo": -95.0, "validation_iwae": -80.0},
]


@pytest.mark.parametrize(
    ("samples", "expected"),
    [
        (1, "ELBO: -90.00 nats per image, one draw of z for each, under N(0, I) (epoch 1)"),
        (5, "the importance-weighted bound with 5 draws of z, not the ELBO; with 16 it is -80.00 nats per"),
    ],
)
def test_the_card_names_the_bound_that_chose_the_epoch(bundle: Path, samples: int, expected: str) -> None:
    opened = Bundle.open(str(bundle))
    training: dict[str, Any] = {"configuration": {"iwae_samples": samples}, "history": HISTORY}
    card = render({**opened.manifest, "training": training}, json.loads(opened.read("parity.json"))["graphs"])
    assert expected in card
    assert ("importance-weighted bound" in card) == (samples > 1)


HOSTILE = "<script>x</script>![](http://tracker/x)\n\n# `|\N{RIGHT-TO-LEFT OVERRIDE}\x1b[2J"


def _hostile(value: Any, key: str = "") -> Any:
    """The same manifest with hostile texts wherever a text may be anything."""
    if isinstance(value, dict):
        return {name: _hostile(each, name) for name, each in value.items()}
    if isinstance(value, list):
        return [_hostile(each, key) for each in value]
    chosen = key in ("family", "kind", "name", "type", "shape", "optimiser", "precision", "provider", "group")
    return HOSTILE if isinstance(value, str) and not chosen else value


def test_no_text_of_a_manifest_acts_in_the_card(tmp_path: Path) -> None:
    opened = write_gaussian_bundle(Folder.at(tmp_path))
    classes = {
        "names": [HOSTILE],
        "values": [0],
        "calibration_images": 9,
        "accuracy": 0.5,
        "samples": 2,
        "calibration_error": 0.1,
        "temperature": 1.0,
        "wrong_labels": 0.0,
    }
    int8 = {"graphs": [HOSTILE], "images": 9, "least_rank_correlation": 0.9, "output": HOSTILE}
    training = {**opened.manifest["training"], "data": HOSTILE, HOSTILE: HOSTILE}
    manifest = _hostile({**opened.manifest, "training": training, "classes": classes, "int8": int8})
    card = render(manifest, json.loads(opened.read("parity.json"))["graphs"])
    assert card.count("&lt;script&gt;") > 20
    assert not any(each in card for each in ("<script", "![]", "\n# `", "\N{RIGHT-TO-LEFT OVERRIDE}", "\x1b"))
    rows = [line for line in card.splitlines() if line.startswith(("| in ", "| out "))]
    assert all(len(re.findall(r"(?<!\\)\|", row)) == 7 for row in rows)


def card_of(manifest: dict[str, Any], parity: bytes) -> Any:
    hub = pytest.importorskip("huggingface_hub")
    return hub.ModelCard(render(manifest, json.loads(parity)["graphs"]), ignore_metadata_errors=False)


def test_a_model_hub_reads_its_head(tmp_path: Path) -> None:
    opened = write_gaussian_bundle(Folder.at(tmp_path))
    training = {"data": HOSTILE, "history": [{**HISTORY[0], "bits_per_dim": 2.5}]}
    card = card_of({**opened.manifest, "training": training}, opened.read("parity.json"))
    assert card.data.library_name == "onnx"
    assert card.data.pipeline_tag == "image-feature-extraction"
    assert "anomaly-detection" in card.data.tags
    found = {result.metric_type: result.metric_value for result in card.data.eval_results}
    assert found == {"elbo": -90.0, "bits_per_dim": 2.5}
    assert {result.dataset_name for result in card.data.eval_results} == {training["data"]}


def test_the_head_of_a_model_without_a_history_has_no_metrics(tmp_path: Path) -> None:
    opened = write_gaussian_bundle(Folder.at(tmp_path))
    card = card_of({**opened.manifest, "training": {}}, opened.read("parity.json"))
    assert card.data.eval_results is None
    assert card.text.lstrip().startswith("# Variational autoencoder")
