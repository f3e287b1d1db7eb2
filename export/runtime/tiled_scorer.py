"""`TiledScorer`: the outlier scores and maps of images larger than a bundle's, by tiles, from Python."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from export.bundle.format import Bundle
from export.guarantees.p_values import SCORE
from export.runtime.device import Device, Provider
from export.runtime.scorer import Scorer
from export.runtime.session import Arrays, concatenate
from export.tiling import TILE_LEFT, TILE_TOP, Images, Stitch, Tiling
from vae_core.errors import UserError


class TiledScorer:
    """Scores images of any size with a bundle that was calibrated on whole images. One object per thread."""

    def __init__(
        self,
        bundle: Bundle | str,
        *,
        provider: Provider | Device = "auto",
        batch_size: int = 128,
        bundle_hash: str | None = None,
    ) -> None:
        """Open a bundle for scoring.

        Args:
            bundle: an opened bundle, or its path or URL; one of `vae calibrate --tile`.
            provider: where to run, or a device; the attribute `provider` is where it actually runs.
            batch_size: tiles per run. It changes memory and speed, not scores.
            bundle_hash: the bundle's hash, if no other will do: see `Bundle.open`.

        Raises:
            UserError: there is no such bundle or provider, it scores no tiles, or the provider computes other scores
                than the bundle's.
        """
        self.bundle = Bundle.of(bundle, bundle_hash)
        self.tiling = self.bundle.require_tiling("TiledScorer")
        self.scorer = Scorer(self.bundle, provider=provider, batch_size=batch_size)
        self._batch_size = batch_size

    def __repr__(self) -> str:
        return f"<TiledScorer of {self.bundle!r}>"

    @property
    def provider(self) -> str:
        """Where the scorer actually runs."""
        return self.scorer.provider

    @property
    def output_names(self) -> tuple[str, ...]:
        """The names of what `score` returns, in order."""
        return (*self.scorer.output_names, TILE_TOP, TILE_LEFT)

    def score(self, images: Sequence[Images]) -> Arrays:
        """The outlier_score and p_value of each image, the statistics of its worst tile, and where that is, [N].

        The image's score is the highest of its tiles, and its p-value is among whole calibration images. `tile_top` and
        `tile_left` are the row and column where the worst tile begins; of equal ones it is the first in reading order.

        Args:
            images: at least one, each uint8 [C,H,W], of any sizes that are not smaller than a tile.

        Raises:
            UserError: there is no image, or one has another type, other channels, or is smaller than a tile.
        """
        if not len(images):
            raise UserError("images must be at least one, got none")
        return concatenate([run for image in images for run in self.runs(image[None])])

    def runs(self, images: Images) -> Iterator[Arrays]:
        """The result of `score` for images [N,C,H,W] of one size, a row each when its last tile is done.

        Before that it yields no rows after each batch of tiles, for callers that may stop in between.
        """
        for image in images:
            self.check_image(image)
            yield from worst_tiles(self.scorer.score, self.tiling, image, self._batch_size)

    def surprise(self, image: Images) -> npt.NDArray[np.float32]:
        """The map `surprise` of `Scorer.explain`, stitched: float32 [H,W], the mean of the tiles that cover a pixel."""
        self.check_image(image)
        _, height, width = image.shape
        places, stitch = self.tiling.places(height, width), Stitch(self.tiling, height, width)
        for start in range(0, len(places), self._batch_size):
            batch = places[start : start + self._batch_size]
            stitch.add(batch, self.scorer.surprise(self.tiling.cut(image, batch)))
        return stitch.mean()

    def check_image(self, image: npt.NDArray[Any]) -> None:
        """Raise a UserError unless an image is uint8 [C,H,W] with the bundle's channels, and no smaller than a tile."""
        channels, height, width = self.bundle.shape
        fits = image.dtype == np.uint8 and image.ndim == 3 and image.shape[0] == channels
        if not fits or image.shape[1] < height or image.shape[2] < width:
            found = f"{image.dtype} [{', '.join(map(str, image.shape))}]"
            raise UserError(f"an image must be uint8 [{channels}, H, W] with H ≥ {height} and W ≥ {width}, got {found}")


def worst_tiles(score: Callable[[Images], Arrays], tiling: Tiling, image: Images, batch_size: int) -> Iterator[Arrays]:
    """The outputs of an image's worst tile and its place, as one row, after a run of no rows for each batch before.

    Args:
        score: the scorer's outputs for tiles [T,C,h,w], each [T].
        tiling: how the image is cut.
        image: [C,H,W].
        batch_size: tiles at once.
    """
    places = tiling.places(*image.shape[1:])
    worst: Arrays = {}
    for start in range(0, len(places), batch_size):
        if worst:
            yield {name: values[:0] for name, values in worst.items()}
        batch = places[start : start + batch_size]
        outputs = score(tiling.cut(image, batch))
        outputs |= {TILE_TOP: batch[:, 0].astype(np.int32), TILE_LEFT: batch[:, 1].astype(np.int32)}
        if worst:
            outputs = {name: np.concatenate([worst[name], values]) for name, values in outputs.items()}
        first = int(np.argmax(outputs[SCORE]))  # of NaN, which has no rank, the first
        worst = {name: values[first : first + 1] for name, values in outputs.items()}
    yield worst
