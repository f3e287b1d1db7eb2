"""The bundle's README.md: a model card generated from the manifest, with the meaning of each input and output."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from vae_core.config import TrainConfig, from_json
from vae_core.text import markdown, printable

_NAMES = 50  # of classes
_KINDS = {
    "mass": "an exact likelihood of 8-bit images: bits per dimension are meaningful",
    "density": "a density of pixels scaled to [0, 1]",
    "score": "not a likelihood of grey pixels, only a score",
}


def render(manifest: Mapping[str, Any], checks: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """The model card as Markdown."""
    image, training, prior, likelihood = (manifest[part] for part in ("image", "training", "prior", "likelihood"))
    channels, height, width = image["shape"]
    lines = [
        *_head(manifest),
        "# Variational autoencoder",
        "",
        f"For images of {channels}×{height}×{width} (channels, height, width), 8 bit. {prior['latent_dim']} latent "
        f"variables; likelihood {markdown(likelihood['name'])}, {_kind(likelihood)}. Samples and log p(x) are under "
        f"the prior '{markdown(prior['name'])}'.",
        *_tiles(manifest.get("tiling")),
        *(["", "Only the pixels of a region of interest count; the graphs replace the others."] * ("region" in image)),
        "",
        "## Data and training",
        "",
        *(
            f"- {markdown(key)}: {markdown(str(value))}"
            for key, value in training.items()
            if isinstance(value, str | int | float)
        ),
        _calibration(manifest["calibration"]),
        *_quality(training.get("history", []), _configuration(training)),
        *_classes(manifest.get("classes")),
        "",
        "## Graphs",
        "",
        "All take batches of any size. Normalisation is built in: images go in as uint8.",
        "",
    ]
    int8 = manifest.get("int8", {})
    if int8:
        lines += [
            f"{' and '.join(map(markdown, int8['graphs']))} compute in 8-bit integers. Over {int8['images']:,} "
            f"in-distribution images, their statistics have a rank correlation of at least "
            f"{int8['least_rank_correlation']:.4f} with those in fp32 ({markdown(int8['output'])}).",
            "",
        ]
    for name, interface in manifest["graphs"].items():
        pictures = {value["name"] for value in interface["outputs"] if value["type"] == "uint8"}
        numbers = [check for check in checks[name] if check["output"] not in pictures]
        before = " before quantisation" if name in int8.get("graphs", ()) else ""
        worst = max(numbers, key=lambda check: check["relative"] / check["allowed"])
        lines += [
            f"### {name}",
            "",
            "| | name | type | shape | meaning | unit |",
            "|---|---|---|---|---|---|",
            *(_row("in", value) for value in interface["inputs"]),
            *(_row("out", value) for value in interface["outputs"]),
            "",
            f"Worst difference from PyTorch on the probe batch{before}: {worst['relative']:.1e} relative "
            f"({markdown(worst['output'])}).",
            "",
        ]
    return "\n".join(lines) + _ELSEWHERE


def _head(manifest: Mapping[str, Any]) -> list[str]:
    """The card's metadata, in YAML, as the model hub of Hugging Face reads it."""
    training, classes = manifest["training"], manifest.get("classes") or {}
    metrics: dict[str, tuple[str, float]] = {}
    history = training.get("history", [])
    if history and (best := _best(history, _configuration(training))) is not None:
        metrics["elbo"] = ("validation ELBO, nats per image", best["validation_elbo"])
        if (bits := best.get("bits_per_dim")) is not None:
            metrics["bits_per_dim"] = ("validation bits per dimension, by the ELBO", bits)
    if classes.get("calibration_images"):
        metrics["accuracy"] = ("accuracy on calibration images", classes["accuracy"])
    name = _quoted(f"vae-{manifest.get('model', {}).get('family', 'core')}")
    tags = ["onnx", "variational-autoencoder", "anomaly-detection", "outlier-detection", name]
    lines = ["---", "library_name: onnx", "pipeline_tag: image-feature-extraction", "tags:"]
    lines += [f"- {tag}" for tag in tags]
    if metrics:
        lines += ["metrics:", *(f"- {metric}" for metric in metrics)]
        data = _quoted(str(training.get("data", "images")))
        lines += ["model-index:", f"- name: {name}", "  results:", "  - task:"]
        lines += ["      type: image-feature-extraction", "    dataset:", f"      name: {data}", f"      type: {data}"]
        lines += ["    metrics:"]
        for metric, (meaning, value) in metrics.items():
            lines += [f"    - type: {metric}", f"      name: {meaning}", f"      value: {float(value):.6g}"]
    return [*lines, "---", ""]


def _quoted(text: str) -> str:
    """Somebody's text as a string of YAML, which one of JSON is, without what may act where the card is shown."""
    return json.dumps(text).replace("<", r"\u003c").replace("!", r"\u0021")


def _best(history: Sequence[Mapping[str, Any]], config: TrainConfig) -> Mapping[str, Any] | None:
    """The epoch that was exported unless `--checkpoint last`; None if an epoch lacks what tells."""
    if any(not {"epoch", "validation_elbo", config.selected_by} <= epoch.keys() for epoch in history):
        return None
    return max(history, key=lambda epoch: epoch[config.selected_by])


def _calibration(calibration: Mapping[str, Any]) -> str:
    line = f"- calibration: {calibration['images']} images, {markdown(calibration['source'])}"
    if (reviewed := calibration.get("reviewed")) is not None:
        line += f"; of the {reviewed['judged']} highest scores, {reviewed['removed']} were judged outliers and removed"
    return line


def _tiles(tiling: Mapping[str, int] | None) -> list[str]:
    if tiling is None:
        return []
    return [
        "",
        f"These are tiles of larger images, {tiling['overlap']} pixels of which neighbours share at least: an image's "
        "outlier score is the highest of its tiles, and p-values are among whole calibration images.",
    ]


def _kind(likelihood: Mapping[str, Any]) -> str:
    if "binarise" in likelihood:
        return (
            "an exact likelihood of black and white images: training draws each pixel from its grey value (dynamic "
            "binarisation), and the graphs compare grey values with constant thresholds"
        )
    return _KINDS[likelihood["kind"]]


def _row(direction: str, value: Mapping[str, Any]) -> str:
    shape = ", ".join(str(d) for d in value["shape"])
    name = printable(value["name"]).replace("`", "'").replace("|", "\\|")  # nothing else acts in code
    kind, meaning, unit = (markdown(value[field]) for field in ("type", "meaning", "unit"))
    return f"| {direction} | `{name}` | {kind} | [{markdown(shape)}] | {meaning} | {unit} |"


def _configuration(training: Mapping[str, Any]) -> TrainConfig:
    return from_json(TrainConfig, training.get("configuration") or {}, "training.configuration")


def _quality(history: Sequence[Mapping[str, Any]], config: TrainConfig) -> list[str]:
    if not history:
        return []
    best = _best(history, config)
    if best is None:
        return []
    lines = [
        f"- validation ELBO: {best['validation_elbo']:.2f} nats per image, one draw of z for each, under N(0, I) "
        f"(epoch {best['epoch']})"
    ]
    if config.iwae_samples > 1 and "validation_iwae" in best:
        lines.append(
            f"- trained on the importance-weighted bound with {config.iwae_samples} draws of z, not the ELBO; with "
            f"{config.importance_samples} it is {best['validation_iwae']:.2f} nats per validation image"
        )
    if (bits := best.get("bits_per_dim")) is not None:
        lines.append(f"- validation bits per dimension, by the ELBO: {bits:.3f}")
    return lines


def _classes(classes: Mapping[str, Any] | None) -> list[str]:
    if classes is None:
        return []
    # Names are somebody's data: one line each, without markup.
    names = [markdown(" ".join(str(name).split())) for name in classes["names"] or classes["values"]]
    shown = ", ".join(names[:_NAMES]) + (", …" if len(names) > _NAMES else "")
    lines = ["", "## Classes", "", f"- {len(names)}: {shown}"]
    if classes["calibration_images"]:
        lines.append(
            f"- on {classes['calibration_images']} calibration images: accuracy {classes['accuracy']:.4f} by Bayes' "
            f"rule with {classes['samples']} draws of z, expected calibration error {classes['calibration_error']:.4f} "
            f"at temperature {classes['temperature']:.3g}"
        )
    if classes["wrong_labels"]:
        lines.append(f"- share of the validation labels that seem wrong: {classes['wrong_labels']:.4f}")
    return lines


_ELSEWHERE = """## Run it elsewhere

```python
import numpy as np, onnxruntime

session = onnxruntime.InferenceSession("scorer.onnx")  # finds weights.bin beside it
images = np.zeros((1, *session.get_inputs()[0].shape[1:]), dtype=np.uint8)
outputs = dict(zip([o.name for o in session.get_outputs()], session.run(None, {"image": images})))
print(outputs["outlier_score"], outputs["p_value"])
```

The graphs share their larger weights, stored in `weights.bin` as ONNX external data: keep it beside them. ONNX
Runtime, in Python and in Node.js, and OpenVINO find it there. A browser has no folders and needs its URL:

```js
const session = await ort.InferenceSession.create("scorer.onnx", {
  externalData: [{ path: "weights.bin", data: "weights.bin" }], // the name that the graphs use, and the URL
});
```

On processors with bfloat16, OpenVINO uses it unless given `{"INFERENCE_PRECISION_HINT": "f32"}`.

`probe.npz` holds a batch of images and the outputs expected for them, so that any runtime can be checked;
`parity.json` holds the differences measured with ONNX Runtime at export.
"""
