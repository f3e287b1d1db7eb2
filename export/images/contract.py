"""The images that a model accepts, and the size limits of every input."""

from dataclasses import dataclass, replace

MAX_PIXELS = 1 << 26  # 64 Mpx: a header that declares more is treated as a decompression bomb
MAX_SIDE = 1_000_000  # pixels: the decoders refuse more
MAX_ENCODED_BYTES = 1 << 28  # 256 MiB: enough for any image of 64 Mpx
MAX_DECODING_BYTES = 1 << 30  # 1 GiB, of a decoder: enough for 64 Mpx, but for those that take more than others

NULL = "the image is null"  # the reason of a row without a value

_KINDS = {1: "grey", 2: "grey and alpha", 3: "RGB", 4: "RGB and alpha"}


class BadImage(ValueError):
    """An image that cannot be used; the message becomes `reason` in the errors table."""


@dataclass(frozen=True)
class ImageContract:
    """The images that a model accepts: uint8, planar [channels, height, width], RGB order."""

    channels: int
    """1 grey, 2 grey and alpha, 3 RGB, 4 RGB and alpha."""

    height: int
    """Pixels."""

    width: int
    """Pixels."""

    resize: bool = False
    """Convert other sizes, channel counts and 16-bit images; otherwise they become error rows."""

    larger: bool = False
    """Accept any size from height×width up, one image a batch; `resize` then converts all but the size."""

    def __post_init__(self) -> None:
        if self.channels not in _KINDS:
            raise ValueError(f"channels must be 1, 2, 3 or 4, got {self.channels}")
        if self.height < 1 or self.width < 1:
            raise ValueError(f"height and width must be at least 1, got {self.height} and {self.width}")

    @property
    def shape(self) -> tuple[int, int, int]:
        """(channels, height, width)."""
        return self.channels, self.height, self.width

    def of_size(self, height: int, width: int) -> "ImageContract":
        """For one image of a contract that accepts larger ones: that of its own size.

        Raises:
            BadImage: it is smaller than height×width.
        """
        if height < self.height or width < self.width:
            raise BadImage(
                f"the image must be at least {self.width}×{self.height}, the size of a tile, got {width}×{height}"
            )
        return replace(self, height=height, width=width, larger=False)

    @property
    def nbytes(self) -> int:
        """Size of one image in bytes."""
        return self.channels * self.height * self.width


def describe(channels: int, height: int, width: int) -> str:
    """A shape in words, width first: `28×28 grey`."""
    return f"{width}×{height} {_KINDS.get(channels, f'with {channels} channels')}"
