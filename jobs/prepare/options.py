"""Options of `vae prepare`."""

from dataclasses import dataclass

from jobs.bulk import BulkOptions
from vae_core.errors import UserError


@dataclass(frozen=True, kw_only=True)
class PrepareOptions(BulkOptions):
    """Bring images of any layout into the packed one, which every job reads fastest."""

    source: tuple[str, ...]
    """Files, folders, patterns or URLs of images; or `torchvision:NAME`, a data set that torchvision downloads, for
    example torchvision:FashionMNIST."""

    output: str
    """The folder, or the URL of one, that takes the packed images."""

    size: int | None = None
    """Make every image SIZE×SIZE pixels, with as many channels as the first one has. Without it the images keep the
    size of the first one."""

    resize: bool = False
    """Without --size: convert images that differ from the first one, instead of leaving them out as errors."""

    keep: tuple[str, ...] | None = None
    """The columns to carry over, besides the images; by default all that every file has."""

    split: str = "train"
    """Which part of a torchvision data set."""

    root: str = "~/.cache/torchvision"
    """Where the files of torchvision data sets are, or are put."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.size is not None and self.size < 1:
            raise UserError(f"--size is {self.size}, but an image has at least 1 pixel")
