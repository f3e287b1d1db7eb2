"""A small bundle and images for it, with rows that cannot be read."""

from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from bundles import SHAPE, pictures
from image_files import encode

BAD_EVERY = 97


class Inputs:
    """What all scenarios start from, made when it is first asked for."""

    def __init__(self, folder: Path, bundle: Path | None = None) -> None:
        """Write into `folder`; `bundle`: one that is there already."""
        self.folder = folder
        self._bundle = bundle
        folder.mkdir(parents=True, exist_ok=True)

    @cached_property
    def bundle(self) -> Path:
        """The bundle of a small model, which is trained for a few seconds."""
        if self._bundle is not None:
            return self._bundle
        from bundles import contents
        from export.bundle.format import write_bundle
        from export.storage import Folder

        write_bundle(Folder.at(self.folder / "bundle"), *contents())
        return self.folder / "bundle"

    @cached_property
    def training_images(self) -> Path:
        """400 images in the packed layout."""
        from training_runs import write_images

        return write_images(self.folder / "training.parquet", 400)

    def images(self, rows: int, row_group: int = 500) -> Path:
        """A Parquet file of encoded images, some of them inverted, and every 97th damaged; with a column to keep."""
        path = self.folder / f"{rows}-{row_group}.parquet"
        if not path.exists():
            pixels = pictures(rows, SHAPE, seed=7)
            pixels[::31] = 255 - pixels[::31]
            cells = [
                {"bytes": b"no image" if row % BAD_EVERY == 1 else encode(image)} for row, image in enumerate(pixels)
            ]
            site = np.random.default_rng(0).integers(0, 5, rows)
            pq.write_table(pa.table({"image": cells, "site": site}), path, row_group_size=row_group)
        return path
