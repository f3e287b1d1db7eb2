"""The bundle's README.md: a model card made from the manifest, and what each graph's inputs and outputs mean."""

from collections.abc import Mapping, Sequence
from typing import Any

# name → (meaning, unit)
MEANINGS: dict[str, tuple[str, str]] = {
    "z": ("latent vectors; drawn from N(0, I) they decode to new images", "1"),
    "mean": ("mean of the approximate posterior q(z|x)", "1"),
    "log_variance": ("log of the variances of q(z|x)", "1"),
    "image": ("images, channels first; RGB order", "grey levels 0 to 255"),
    "location": ("location of p(x|z) per pixel", "grey levels (discretised-logistic) or 1/255 of them (gaussian)"),
    "log_scale": ("log of the scale of p(x|z) per pixel", "of the same unit as location"),
    "logits": ("logit of p(x|z)'s parameter per pixel", "1"),
    "reconstruction": ("log p(x|z) at z = mean of q(z|x)", "nats per image"),
    "kl": ("KL(q(z|x) ‖ p(z))", "nats per image"),
    "best_reconstruction": ("highest log p(·|z) that any image reaches at that z", "nats per image"),
    "log_surprise": ("log of 1 + the nats by which the image is less likely than that", "log nats"),
    "log_peak_surprise": ("log of 1 + the same of the most surprising pixel", "log nats"),
    "log_mean_norm": ("log of the squared norm of the mean of q(z|x)", "1"),
    "mean_log_variance": ("mean over the latent variables of log_variance", "1"),
    "log_error": ("log of the mean squared error of the reconstruction", "log grey levels²"),
    "log_absolute_error": ("log of its mean absolute error", "log grey levels"),
    "log_peak_error": ("log of the largest error of a pixel", "log grey levels"),
    "log_relative_error": ("log of the squared error over the image's own squared gradients", "1"),
    "log_error_curvature": ("log of the mean squared second differences of the error", "log grey levels²"),
    "log_roughness": ("log of the image's mean squared gradients", "log grey levels²"),
    "log_curvature": ("log of the image's mean squared second differences", "log grey levels²"),
    "log_reconstructed_roughness": ("log of the reconstruction's mean squared gradients", "log grey levels²"),
    "black": ("share of pixels of level 0", "1"),
    "white": ("share of pixels of level 255", "1"),
    "flat": ("pairs of neighbouring pixels of one level, black ones aside, per pixel", "1"),
    "log_aggregate_posterior": ("log density of the mean of q(z|x) among those of in-distribution images", "nats"),
    "outlier_score": (
        "surprise at the statistics, twice, and at the code, under their densities over in-distribution images",
        "nats, higher is more outlying",
    ),
    "reconstructed": ("the mean of p(x|z) at z = mean of q(z|x), as images", "grey levels 0 to 255"),
    "surprise": (
        "how much likelier the likeliest value of a pixel would be, summed over channels: max log p(·|z) − log p(x|z)",
        "nats per pixel",
    ),
    "contributions": ("what each statistic adds to outlier_score, which is their sum", "as outlier_score"),
    "deviations": (
        "how far each statistic lies above (below: negative) where it lies for the in-distribution images most like "
        "this one",
        "standard deviations",
    ),
    "p_value": ("conformal p-value: (1 + calibration scores at least as high) / (n + 1)", "1"),
    "elbo": ("evidence lower bound at K fixed draws of z", "nats per image, higher is likelier"),
    "log_px": (
        "importance-weighted estimate of log p(x) from K fixed draws of z",
        "nats per image, higher is likelier",
    ),
    "effective_samples": ("effective sample size of that estimate; near 1, distrust it", "samples"),
}

_KINDS = {
    "mass": "an exact likelihood of 8-bit images: bits per dimension are meaningful",
    "density": "a density of pixels scaled to [0, 1]",
    "score": "not a likelihood of grey pixels, only a score",
}


def render(manifest: Mapping[str, Any], checks: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """The model card as Markdown."""
    model, image, training = manifest["model"], manifest["image"], manifest["training"]
    channels, height, width = image["shape"]
    lines = [
        "# Variational autoencoder",
        "",
        f"For images of {channels}×{height}×{width} (channels, height, width), 8 bit. {model['latent_dim']} latent "
        f"variables; likelihood {model['likelihood']}, {_KINDS[manifest['likelihood']['kind']]}.",
        "",
        "## Data and training",
        "",
        *(f"- {key}: {value}" for key, value in training.items() if isinstance(value, str | int | float)),
        f"- calibration: {manifest['calibration']['images']} images, {manifest['calibration']['source']}",
        *_quality(training.get("history", [])),
        "",
        "## Graphs",
        "",
        "All take a batch of any size. Normalisation is inside: images go in as uint8.",
        "",
    ]
    int8 = manifest.get("int8", {})
    if int8:
        lines += [
            f"{' and '.join(int8['graphs'])} compute in 8-bit integers. Over {int8['images']:,} in-distribution "
            f"images, their statistics have a rank correlation of at least {int8['least_rank_correlation']:.4f} with "
            f"those in fp32 ({int8['output']}).",
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
            f"({worst['output']}).",
            "",
        ]
    return "\n".join(lines) + _ELSEWHERE


def _row(direction: str, value: Mapping[str, Any]) -> str:
    shape = ", ".join(str(d) for d in value["shape"])
    meaning = value["meaning"].replace("|", "\\|")  # a bar would end the cell
    return f"| {direction} | `{value['name']}` | {value['type']} | [{shape}] | {meaning} | {value['unit']} |"


def _quality(history: Sequence[Mapping[str, Any]]) -> list[str]:
    if not history:
        return []
    best = max(history, key=lambda epoch: epoch["validation_elbo"])
    lines = [f"- validation ELBO: {best['validation_elbo']:.2f} nats per image (epoch {best['epoch']})"]
    if (bits := best.get("bits_per_dim")) is not None:
        lines.append(f"- validation bits per dimension: {bits:.3f}")
    return lines


_ELSEWHERE = """## Run it elsewhere

```python
import numpy as np, onnxruntime

session = onnxruntime.InferenceSession("scorer.onnx")
images = np.zeros((1, *session.get_inputs()[0].shape[1:]), dtype=np.uint8)
outputs = dict(zip([o.name for o in session.get_outputs()], session.run(None, {"image": images})))
print(outputs["outlier_score"], outputs["p_value"])
```

`probe.npz` holds a batch of images and the outputs expected for them, so that any runtime can check itself;
`parity.json` holds the differences that ONNX Runtime showed when the bundle was made.
"""
