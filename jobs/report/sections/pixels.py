"""The section about where images are defective: pixel metrics, and maps with the outlines of the masks."""

from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from jobs.evaluate.localisation import LIMITS
from jobs.evaluate.located import Located
from jobs.evaluate.pixels import aupro_name
from jobs.report.blocks import Block, Figure, Matrix, Row, Section, Table
from jobs.report.pictures import Pixels, heat_maps, heat_scale, pictures
from jobs.report.wording import count, counted, fraction

_OUTLINE = (64, 224, 255)  # RGB, seen on grey levels and on the colours of maps


def pixel_section(outliers: Mapping[str, Mapping[str, Any]], located: Sequence[Located]) -> Section | None:
    """Pixel AUROC and AUPRO of each set with masks, and some of its maps; None without masks.

    Args:
        outliers: those of `metrics.json`.
        located: images of the sets to show.
    """
    measured = {name: found["pixels"] for name, found in outliers.items() if found["pixels"] is not None}
    if not measured:
        return None
    columns = [
        *("Outliers", "Images", "Without a usable mask", "Regions", "Pixel AUROC"),
        *(f"AUPRO to {limit:.0%} FPR" for limit in LIMITS),
    ]
    rows = [
        [
            name,
            count(found["images"]),
            count(found["errors"]),
            count(found["regions"]),
            *(fraction(found[metric]["value"]) for metric in ("auroc", *map(aupro_name, LIMITS))),
        ]
        for name, found in measured.items()
    ]
    shown = [each for each in located if len(each.images)]
    blocks: list[Block] = [Table(columns, rows, columns[1:])]
    if shown:
        drawn, top = heat_maps([each for of_set in shown for each in of_set.maps])
        maps = iter(drawn)
        matrix_rows = [row for each in shown for row in _rows(each, list(islice(maps, len(each.maps))))]
        blocks += [
            heat_scale("Surprise", top, "nats"),
            Matrix(matrix_rows, caption="Drawn at random from the images with defects; the masks are outlined."),
        ]
    inliers = next(iter(measured.values()))["inliers"]
    return Section(
        "pixels",
        "Where the defects are",
        "Pixel AUROC is the probability that a defective pixel has a higher value in the map than a normal one. AUPRO "
        "is the share of each defective region that is found, averaged over the regions and over the false positive "
        "rates up to the limit: 1 is perfect, half the limit is chance. Normal pixels are those outside the masks and "
        f"all of {counted(inliers, 'inlier')}.",
        blocks,
    )


def pixel_figure(name: str, found: Mapping[str, Any]) -> Figure:
    """The key figure of a set with masks, from its `pixels` in `metrics.json`."""
    areas = " and ".join(f"{fraction(found[aupro_name(limit)]['value'])} to {limit:.0%} FPR" for limit in LIMITS)
    return Figure(f"Pixel AUROC, {name}", fraction(found["auroc"]["value"]), f"AUPRO {areas}.")


def outlined(image: Pixels, mask: npt.NDArray[np.bool_]) -> Pixels:
    """The image [C, H, W] in colour, [3, H, W], with a line around the mask [H, W], outside of it."""
    colours = image[:-1] if len(image) in (2, 4) else image  # without alpha
    shown: Pixels = np.broadcast_to(colours, (3, *image.shape[1:])).copy()
    grown = cv2.dilate(mask.astype(np.uint8), np.ones((3, 3), np.uint8)).astype(np.bool_)
    shown[:, grown & ~mask] = np.array(_OUTLINE, np.uint8)[:, None]
    return shown


def _rows(each: Located, maps: Sequence[Pixels]) -> list[Row]:
    rows = []
    for note, drawn in (("image", each.images), ("map", maps)):
        lined = [outlined(image, mask) for image, mask in zip(drawn, each.masks, strict=True)]
        rows.append(Row(each.name, note, pictures(lined, f"{note} {{}} of {each.name}, its mask outlined")))
    return rows
