"""The format of `explanations.parquet`: the columns of the scores that identify the image, then its explanation.

- rank, reason: 1 is the most outlying; why, in a sentence
- image, reconstructed: PNG files of the scored image and of its reconstruction, which is null for a model of features
- surprise, surprise_top: nats per pixel, or per place of the feature maps, as a grey PNG, and the value of white; see
  `surprise_picture`
- nearest, nearest_distance, nearest_score: PNG files of the calibration images with the nearest latent codes, the
  distances between the codes, and their outlier scores
- contributions, deviations: for each statistic, its contribution to the outlier score, which is their sum, and its
  deviation from the most similar inliers in their standard deviations, positive if higher
- tile: of images that were scored by tiles, the worst tile, which `reconstructed`, `nearest`, `contributions` and
  `deviations` are of; `image` and `surprise` are the whole image, reduced to 512 pixels, and its map
"""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from export.pictures import encode_png
from jobs.score.explain.explanation import Explanation

_PICTURE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
_IMAGE_FEATURE = {"_type": "Image"}
# Lets the `datasets` library and the Hugging Face hub show images.
_FEATURES: dict[str, Any] = {
    "image": _IMAGE_FEATURE,
    "reconstructed": _IMAGE_FEATURE,
    "surprise": _IMAGE_FEATURE,
    "nearest": {"feature": _IMAGE_FEATURE, "length": -1, "_type": "Sequence"},
}


def own_columns(tiled: bool = False) -> tuple[str, ...]:
    """Names of the columns of explanations that scores do not have."""
    return tuple(_own_schema((), tiled).names)


def surprise_picture(surprise: npt.NDArray[np.float32]) -> tuple[bytes, float]:
    """Nats per pixel [H,W] as a grey PNG, and `top`, the value of white.

    nats = top · (level / 255)²: on a square-root scale both 1 nat and 1,000 are visible, to two digits.
    """
    top = float(surprise.max())
    levels = np.rint(255.0 * np.sqrt(surprise / max(top, 1e-12))).astype(np.uint8)
    return encode_png(levels[None]), top


def _own_schema(statistics: Sequence[str], tiled: bool = False) -> pa.Schema:
    numbers = pa.struct([(name, pa.float32()) for name in statistics])
    return pa.schema(
        [
            ("rank", pa.int32()),
            ("reason", pa.string()),
            ("image", _PICTURE),
            ("reconstructed", _PICTURE),
            ("surprise", _PICTURE),
            ("surprise_top", pa.float32()),
            ("nearest", pa.list_(_PICTURE)),
            ("nearest_distance", pa.list_(pa.float32())),
            ("nearest_score", pa.list_(pa.float32())),
            ("contributions", numbers),
            ("deviations", numbers),
            *([("tile", _PICTURE)] if tiled else []),
        ]
    )


def explanation_schema(rows: pa.Schema, statistics: Sequence[str], tiled: bool = False) -> pa.Schema:
    """Schema of explanations; the columns `rows` identify the image."""
    features = json.dumps({"info": {"features": _FEATURES | ({"tile": _IMAGE_FEATURE} if tiled else {})}})
    return pa.schema([*rows, *_own_schema(statistics, tiled)], metadata={"huggingface": features})


def explanation_table(rows: pa.Table, explanations: Sequence[Explanation], schema: pa.Schema) -> pa.Table:
    """Explanations with the columns that identify their rows, in the `schema` of `explanation_schema`."""
    own_rows = []
    for each in explanations:
        surprise, top = surprise_picture(each.surprise)
        own_rows.append(
            {
                "rank": each.rank,
                "reason": each.reason,
                "image": _picture(encode_png(each.image)),
                "reconstructed": None if each.reconstructed is None else _picture(encode_png(each.reconstructed)),
                "surprise": _picture(surprise),
                "surprise_top": top,
                "nearest": [_picture(neighbour.picture) for neighbour in each.nearest],
                "nearest_distance": [neighbour.distance for neighbour in each.nearest],
                "nearest_score": [neighbour.score for neighbour in each.nearest],
                "contributions": each.contributions,
                "deviations": each.deviations,
            }
            | ({} if each.tile is None else {"tile": _picture(encode_png(each.tile))})
        )
    own = pa.Table.from_pylist(own_rows, pa.schema(list(schema)[len(rows.schema) :]))
    return pa.Table.from_arrays([*rows.columns, *own.columns], schema=schema)


def _picture(png: bytes) -> dict[str, bytes | None]:
    return {"bytes": png, "path": None}
