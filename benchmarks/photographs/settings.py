"""What is compared: the shared sets, faint defects on textures, and one model for two textures.

brick64, wood128, photos64   files of the shared data; all training images
faint-TEXTURE                defects at the contrast where PatchCore has an AUROC of 0.90 on images that are used for
                             nothing else, 1,000 training crops (see `textures` and `defects`)
joint-brick, joint-wood      the same test images as in faint-brick and faint-wood, for one model of both textures
emoji64                      500 held-out emoji, chosen by the seed, against themselves with other colours (see `kinds`)
photos64-kinds               the models and test images of photos64, and more kinds of outliers (see `kinds`)
photos64-elsewhere           ordinary crops of other parts of the same photographs (see `elsewhere`), all of these kinds
"""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.outliers.settings import read
from benchmarks.photographs import elsewhere
from benchmarks.photographs.detector import Detector, Training
from benchmarks.photographs.kinds import emoji_kinds, kinds
from benchmarks.photographs.patches import METHODS as PATCHES
from benchmarks.photographs.textures import TEXTURES, crops
from jobs.demo.defects import KINDS, Drawn, Images, Kind, Masks, draw
from jobs.evaluate.detection import auroc
from jobs.images.packing import packed_column, packed_schema
from vae_core.errors import UserError

SHARED = ("brick64", "wood128", "photos64")
FAINT = tuple(f"faint-{name}" for name in TEXTURES)
JOINT = ("joint-brick", "joint-wood")
EMOJI, KINDS64, ELSEWHERE = "emoji64", "photos64-kinds", "photos64-elsewhere"
MORE = (KINDS64, ELSEWHERE)
NAMES = (*SHARED, EMOJI, *FAINT, *JOINT, *MORE)

_TRAINING, _TEST, _EACH = 1000, 400, 200  # crops: to train on, ordinary ones to test with, and those with a defect
_HELD_OUT = 500  # emoji
_ELSEWHERE = 60  # crops of each photograph
_CHOOSING = 150  # crops with a defect that the contrast is chosen by, and as many ordinary ones
_WANTED, _STEPS = 0.90, 7
_PLAINEST: dict[Kind, float] = {"scratch": 2.0, "stain": 1.6, "hole": 1.0}  # black, white or flat


class Sets(NamedTuple):
    """One setting."""

    training: Training
    test: Images  # ordinary
    outliers: Mapping[str, Images]
    masks: Mapping[str, Masks]  # of outliers that have some
    note: str = ""


def open_sets(name: str, data: str, work: Path, seed: int, photographs: Path | None = None) -> Sets:
    """A setting for a seed; `work` holds what is made for it, and only photos64-elsewhere needs `photographs`."""
    if name in SHARED:
        return _shared(name, data, work, seed)
    if name == EMOJI:
        return _emoji(data, work, seed)
    if name in MORE:
        own = _shared("photos64", data, work, seed)
        if name == KINDS64:
            return own._replace(outliers=kinds(data))
        if photographs is None:
            raise UserError(f"{ELSEWHERE} needs --photographs, the folder where Debian's packages are unpacked")
        return own._replace(test=elsewhere.crops(photographs, _ELSEWHERE), outliers={**own.outliers, **kinds(data)})
    kind, _, texture = name.partition("-")
    own = _faint(texture, data, work, seed)
    if kind == "faint":
        return own
    other = _faint("wood" if texture == "brick" else "brick", data, work, seed)
    files = tuple(sorted((*own.training.files, *other.training.files)))
    return own._replace(training=Training(files, seed, work / f"joint-{seed}"))


def _shared(name: str, data: str, work: Path, seed: int) -> Sets:
    training = Training((f"{data}/{name}_train.parquet",), seed, work / f"{name}-{seed}")
    file = f"{data}/{name}_{'outliers' if name == 'photos64' else 'defects'}.parquet"
    images, table = read(file), pq.read_table(file)
    kinds = np.array(table["kind"].to_pylist())
    named = {kind: kinds == kind for kind in dict.fromkeys(kinds)}
    masks: dict[str, Masks] = {}
    if "mask" in table.column_names:
        pixels = np.stack([_decode(cell["bytes"]) for cell in table["mask"].to_pylist()]) > 0
        masks = {kind: pixels[chosen] for kind, chosen in named.items()}
    test = read(f"{data}/{name}_test.parquet")
    return Sets(training, test, {kind: images[chosen] for kind, chosen in named.items()}, masks)


def _decode(data: bytes) -> Images:
    return np.asarray(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE))


def _emoji(data: str, work: Path, seed: int) -> Sets:
    images, folder = read(f"{data}/emoji_rgb64.parquet"), work / f"{EMOJI}-{seed}"
    held_out = np.zeros(len(images), bool)
    held_out[np.random.default_rng(seed).permutation(len(images))[:_HELD_OUT]] = True
    file = folder / "training.parquet"
    if not file.exists():
        folder.mkdir(parents=True, exist_ok=True)
        write_images(file, images[~held_out])
    test = images[held_out]
    return Sets(Training((str(file),), seed, folder), test, emoji_kinds(test), {})


def _faint(texture: str, data: str, work: Path, seed: int) -> Sets:
    folder = work / f"faint-{texture}-{seed}"
    file = folder / "training.parquet"
    if not file.exists():
        folder.mkdir(parents=True, exist_ok=True)
        write_images(file, crops(texture, data, "training", _TRAINING, seed))
    training = Training((str(file),), seed, folder)
    needed = _TEST + _CHOOSING + len(KINDS) * (_EACH + _CHOOSING)
    images = iter(np.split(crops(texture, data, "test", needed, seed), needed))

    def take(number: int) -> Images:
        return np.concatenate([next(images) for _ in range(number)])

    test, choosing = take(_TEST), take(_CHOOSING)
    sources: dict[Kind, tuple[Images, Images]] = {kind: (take(_CHOOSING), take(_EACH)) for kind in KINDS}
    known = folder / "contrasts.json"
    if not known.exists():
        detector = PATCHES["patchcore"].fit(training)
        found = {kind: _contrast(detector, kind, choosing, odd) for kind, (odd, _) in sources.items()}
        known.write_text(json.dumps(found))
    contrasts: dict[Kind, float] = json.loads(known.read_text())
    drawn: dict[Kind, Drawn] = {
        kind: draw(kind, each, contrasts[kind], seed + 1) for kind, (_, each) in sources.items()
    }
    note = ", ".join(f"{kind} {contrast:.2g}" for kind, contrast in contrasts.items())
    masks = {kind: each.masks for kind, each in drawn.items()}
    return Sets(training, test, {kind: each.images for kind, each in drawn.items()}, masks, note)


def _contrast(detector: Detector, kind: Kind, ordinary: Images, odd: Images) -> float:
    """The contrast of the AUROC that is wanted, by bisection of its logarithm; the highest if none is that plain."""
    inliers = detector.score(ordinary).score

    def too_plain(contrast: float) -> bool:
        return auroc(inliers, detector.score(draw(kind, odd, contrast, 0).images).score) > _WANTED

    low, high = 1 / 64, _PLAINEST[kind]
    if not too_plain(high):
        return high
    for _ in range(_STEPS):
        middle = (low * high) ** 0.5
        low, high = (low, middle) if too_plain(middle) else (middle, high)
    print(f"  {kind} at contrast {high:.3f}", file=sys.stderr, flush=True)
    return high


def write_images(file: Path, images: Images) -> None:
    """Write a Parquet file of images [N, C, H, W], to train on."""
    _, channels, height, width = images.shape
    schema = packed_schema((channels, height, width), pa.schema([]))
    table = pa.Table.from_arrays([packed_column(np.ascontiguousarray(images))], schema=schema)
    pq.write_table(table, file)
