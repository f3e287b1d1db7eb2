"""Comparison of networks: quality and speed by decoder, width and normalisation.

    python -m benchmarks.architecture --images TRAIN.parquet --outliers OUTLIERS.parquet --epochs 6

Trains one network per variant, identical except for what its name says, on the same images with the same seed, exports
it in fp32 and in 8-bit integers, and prints a line for each: bits per dimension of held-out images, AUROC of the
outlier score on the outliers and, averaged, on the development shifts of `benchmarks.outliers` (the final shifts are
reserved for evaluating the choice), and the scorer's processor time per image, the minimum over several runs in which
the variants alternate. Normalised networks exist for this table only. Finished variants are cached.
"""

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn.utils import parametrizations, parametrize

from benchmarks.material import WORK
from benchmarks.outliers.shifts import DEVELOPMENT, apply
from benchmarks.results import RESULTS, machine
from export.bundle.format import SCORER
from export.bundle.weights import WEIGHTS, open_graph
from export.graphs.build import Splits, build
from export.graphs.options import BuildOptions
from export.runtime.session import Session, scoring_session
from jobs.evaluate.detection import auroc
from jobs.train import recipes
from vae_core.models import seeded
from vae_core.models.conv.config import ConvConfig
from vae_core.models.conv.model import ConvVAE
from vae_core.optimisation import Optimisation, to_device

Images = npt.NDArray[np.uint8]
_SHIPPED = recipes.load("fashion-mnist")
_TIMED_IMAGES, _ROUNDS = 128, 40


def _group_normalised(model: ConvVAE) -> None:
    """Group normalisation after every convolution but the decoder's last."""
    for layers in (model.encoder.convolutions, model.decoder.upsamplings[:-1]):
        for number, layer in enumerate(layers):
            channels = layer.out_channels
            layers[number] = nn.Sequential(layer, nn.GroupNorm(8, channels))


def _weight_normalised(model: ConvVAE) -> None:
    """Weight normalisation of every convolution; it folds into the weights at export."""
    for layers in (model.encoder.convolutions, model.decoder.upsamplings):
        for layer in layers:
            parametrizations.weight_norm(layer)


class Variant(NamedTuple):
    """A network, and a change that the configuration cannot express."""

    model: ConvConfig
    change: Callable[[ConvVAE], None] | None = None


def _variants(shape: tuple[int, int, int]) -> dict[str, Variant]:
    shipped = replace(_SHIPPED.model, image_shape=shape)
    return {
        "transposed, 32-64-128 (shipped)": Variant(shipped),
        "nearest": Variant(replace(shipped, upsampling="nearest")),
        "pixel-shuffle": Variant(replace(shipped, upsampling="pixel-shuffle")),
        "widths 16-32-64": Variant(replace(shipped, widths=(16, 32, 64))),
        "no hidden layers": Variant(replace(shipped, hidden=0)),
        "group normalisation": Variant(shipped, _group_normalised),
        "weight normalisation": Variant(shipped, _weight_normalised),
    }


class Data(NamedTuple):
    training: Images
    held: Splits
    outliers: Images


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", help="Parquet of ordinary images; by default the package's")
    parser.add_argument("--outliers", help="Parquet of outliers; by default the package's")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="two variants: a smoke test")
    options = parser.parse_args()
    data = _read(options.images, options.outliers)
    variants = _variants(data.training.shape[1:])  # type: ignore[arg-type]
    if options.quick:
        variants = dict(list(variants.items())[:2])
    folder = WORK / "architecture" / f"{len(data.training)}-{options.epochs}"
    lines: dict[str, dict[str, Any]] = {}
    for name, variant in variants.items():
        kept = folder / name.replace(" ", "-")
        if not (kept / "line.json").exists():
            kept.mkdir(parents=True, exist_ok=True)
            (kept / "line.json").write_text(json.dumps(_study(variant, data, options.epochs, kept)))
        lines[name] = json.loads((kept / "line.json").read_text())
    times = _times({name: folder / name.replace(" ", "-") for name in variants}, data.held.calibration)
    print("| | bits/dim | AUROC outliers | development shifts | int8: outliers | shifts | fp32 µs | int8 µs |")
    print("|---|---|---|---|---|---|---|---|")
    for name, line in lines.items():
        fp32, int8 = line["fp32"], line["int8"]
        print(
            f"| {name} | {line['bits_per_dim']:.3f} | {fp32['outliers']:.4f} | {fp32['shifts']:.4f} "
            f"| {int8['outliers']:.4f} | {int8['shifts']:.4f} "
            f"| {times[name, 'fp32']:.0f} | {times[name, 'int8']:.0f} |"
        )
    RESULTS.mkdir(parents=True, exist_ok=True)
    results = {
        name: line | {"microseconds": {p: times[name, p] for p in ("fp32", "int8")}} for name, line in lines.items()
    }
    text = json.dumps({"benchmark": "architecture", "machine": machine(), "ratios": [], "variants": results}, indent=2)
    (RESULTS / "architecture.json").write_text(text + "\n")


def _read(images: str | None, outliers: str | None) -> Data:
    from benchmarks.material import shipped
    from benchmarks.outliers.settings import read

    ordinary = read(images or str(shipped("fashion_mnist_8k_train.parquet")))
    ordinary = ordinary[np.random.default_rng(0).permutation(len(ordinary))]
    held = min(6000, len(ordinary) // 10)
    return Data(
        ordinary[2 * held :],
        Splits(ordinary[:held], ordinary[held : 2 * held]),
        read(outliers or str(shipped("mnist_500.parquet"))),
    )


def _study(variant: Variant, data: Data, epochs: int, kept: Path) -> dict[str, Any]:
    """Train and export one variant into `kept`; its line of the table without the times."""
    model = _train(variant, data.training, epochs)
    line: dict[str, Any] = {"bits_per_dim": _bits_per_dimension(model, data.held.validation)}
    ordinary = data.held.calibration[:2000]
    outliers = {name: apply(shift, ordinary) for name, shift in DEVELOPMENT.items()}
    for precision in ("fp32", "int8"):
        contents = build(model, data.held, {}, BuildOptions(samples=2, int8=precision == "int8"))
        (kept / precision).mkdir(exist_ok=True)
        for file in (SCORER, WEIGHTS):
            (kept / precision / file).write_bytes(contents.files[file])
        session = _scorer(kept / precision)

        def score(images: Images, session: Session = session) -> npt.NDArray[np.float32]:
            scores: npt.NDArray[np.float32] = session.run_batched({"image": images}, 256)["outlier_score"]
            return scores

        usual = score(ordinary)
        areas = {name: auroc(usual, score(images)) for name, images in outliers.items()}
        line[precision] = {
            "outliers": auroc(usual, score(data.outliers)),
            "shifts": float(np.mean(list(areas.values()))),
            "each": areas,
        }
    return line


def _train(variant: Variant, images: Images, epochs: int) -> ConvVAE:
    config = replace(_SHIPPED.train, epochs=epochs)
    batch_size = config.batch_size or 128
    steps = len(images) // batch_size
    model = seeded(variant.model, 0)
    assert isinstance(model, ConvVAE)
    if variant.change is not None:
        variant.change(model)
    optimisation = Optimisation(to_device(model, "cpu"), config, steps)
    noise = torch.Generator().manual_seed(0)
    began = time.monotonic()
    for epoch in range(epochs):
        order = np.random.default_rng(epoch).permutation(len(images))
        for step in range(steps):
            chosen = order[step * batch_size : (step + 1) * batch_size]
            epsilon = torch.randn(len(chosen), variant.model.latent_dim, generator=noise)
            optimisation.step({"image": torch.from_numpy(images[chosen])}, epsilon)
        print(f"epoch {epoch + 1}: {time.monotonic() - began:.0f} s", flush=True)
    trained = optimisation.average.to(memory_format=torch.contiguous_format).eval().requires_grad_(False)
    for module in trained.modules():
        if parametrize.is_parametrized(module):
            parametrize.remove_parametrizations(module, "weight")
    assert isinstance(trained, ConvVAE)
    return trained


@torch.inference_mode()
def _bits_per_dimension(model: ConvVAE, images: Images) -> float:
    generator = torch.Generator().manual_seed(1)
    elbo = [
        model({"image": torch.from_numpy(some)}, torch.randn(len(some), model.noise_size, generator=generator)).elbo
        for some in np.array_split(images, -(-len(images) // 256))
    ]
    return float(-torch.cat(elbo).double().mean() / model.config.dimensions / np.log(2))


def _scorer(folder: Path) -> Session:
    """The session of the scorer in `folder`, with its weights."""
    return scoring_session(open_graph((folder / SCORER).read_bytes(), (folder / WEIGHTS).read_bytes(), str(folder)))


def _times(folders: dict[str, Path], images: Images) -> dict[tuple[str, str], float]:
    """Processor time of every scorer in µs per image, on one thread."""
    batch = images[np.arange(_TIMED_IMAGES) % len(images)]
    sessions = {
        (name, precision): _scorer(folder / precision)
        for name, folder in folders.items()
        for precision in ("fp32", "int8")
    }
    least = dict.fromkeys(sessions, np.inf)
    for _ in range(_ROUNDS):
        for key, session in sessions.items():
            began = time.process_time()
            session.run({"image": batch})
            least[key] = min(least[key], time.process_time() - began)
    return {key: 1e6 * seconds / len(batch) for key, seconds in least.items()}


if __name__ == "__main__":
    main()
