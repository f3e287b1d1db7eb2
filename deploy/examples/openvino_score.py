"""Score images with OpenVINO, and check it against the bundle's own probe batch first.

    python deploy/examples/openvino_score.py BUNDLE

Needs openvino and numpy.
"""

import json
import sys
from pathlib import Path

import numpy as np
import openvino

if len(sys.argv) != 2:
    sys.exit("usage: python deploy/examples/openvino_score.py BUNDLE")
bundle = Path(sys.argv[1])
manifest = json.loads((bundle / "manifest.json").read_text())
probe = np.load(bundle / "probe.npz")

# By itself OpenVINO computes in bf16 on processors that have it, which changes scores in the second digit.
scorer = openvino.compile_model(bundle / "scorer.onnx", "CPU", {"INFERENCE_PRECISION_HINT": "f32"})


def score(images: np.ndarray) -> dict[str, np.ndarray]:
    """The outputs of scorer.onnx by name, of uint8 images [N,C,H,W]."""
    found = scorer(images)
    return {output["name"]: found[place] for place, output in enumerate(manifest["graphs"]["scorer.onnx"]["outputs"])}


def check(found: dict[str, np.ndarray]) -> None:
    """Exit unless the outputs for the probe batch are what the bundle expects."""
    for output in manifest["graphs"]["scorer.onnx"]["outputs"]:
        expected = probe[f"scorer.{output['name']}"]
        difference = np.abs(found[output["name"]] - expected) / np.maximum(output["scale"], np.abs(expected))
        if not difference.max() <= output["tolerance"]:
            sys.exit(f"{output['name']} differs by {difference.max():.1e}, {output['tolerance']:.1e} is allowed")


outputs = score(probe["image"])
check(outputs)
worst = int(np.argmax(outputs["outlier_score"]))
print(f"the probe batch agrees; image {worst} of it is the most outlying, p = {outputs['p_value'][worst]:.4f}")
