"""Options of `vae prepare`."""

from dataclasses import dataclass

from export.tiling import check_tile
from jobs.bulk import BulkOptions
from jobs.images.options import ColumnOptions
from vae_core.errors import UserError


@dataclass(frozen=True, kw_only=True)
class PrepareOptions(ColumnOptions, BulkOptions):
    """Convert images in any layout to the packed layout, the fastest to read."""

    source: tuple[str, ...]
    """Files, folders, patterns or URLs of images; or `torchvision:NAME`, a data set that torchvision downloads, for
    example torchvision:FashionMNIST."""

    output: str
    """Output folder, a path or URL: empty, or an unfinished job to resume."""

    size: int | None = None
    """Letterbox every image to SIZE×SIZE pixels and convert it to the channels of most; default the shape of most."""

    resize: bool = False
    """Without --size: letterbox images of another size to that of most, and convert other channel counts; otherwise
    they are left out."""

    tile: int | None = None
    """Cut every image into tiles of TILE×TILE pixels, to train on: each is a row, with `tile_top` and `tile_left` where
    it begins. Images may have any sizes from that of a tile up; smaller ones are left out."""

    overlap: int = 0
    """Pixels that neighbouring tiles share, with `--tile`."""

    keep: tuple[str, ...] | None = None
    """Columns to copy; default all that every file has."""

    split: str = "train"
    """Split of a torchvision data set."""

    root: str = "~/.cache/torchvision"
    """Folder of torchvision data sets; missing ones are downloaded to it."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.size is not None and self.size < 1:
            raise UserError(f"--size must be at least 1, got {self.size}")
        if self.tile is not None and self.size is not None:
            raise UserError("--tile must not be given with --size: tiles are cut, and images keep their size")
        check_tile(self.tile, self.overlap)
