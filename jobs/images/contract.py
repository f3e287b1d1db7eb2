"""What a model takes, and the limits that every input is held to."""

from dataclasses import dataclass

MAX_PIXELS = 1 << 26  # 64 Mpx: a header that promises more is taken for a decompression bomb
MAX_ENCODED_BYTES = 1 << 28  # 256 MiB: no image of 64 Mpx needs more

_KINDS = {1: "grey", 2: "grey and alpha", 3: "RGB", 4: "RGB and alpha"}


class BadImage(ValueError):
    """One image that cannot be used; the message is the reason that the errors table gives."""


@dataclass(frozen=True)
class ImageContract:
    """The images that a model takes: uint8, planar [channels, height, width], RGB order."""

    channels: int
    """1 grey, 2 grey and alpha, 3 RGB, 4 RGB and alpha."""

    height: int
    """Pixels."""

    width: int
    """Pixels."""

    resize: bool = False
    """Convert other sizes, channel counts and 16-bit images instead of refusing the row."""

    def __post_init__(self) -> None:
        if self.channels not in _KINDS:
            raise ValueError(f"channels must be 1, 2, 3 or 4, not {self.channels}")
        if self.height < 1 or self.width < 1:
            raise ValueError(f"an image needs at least one pixel, not {self.height}×{self.width}")

    @property
    def shape(self) -> tuple[int, int, int]:
        """(channels, height, width)."""
        return self.channels, self.height, self.width

    @property
    def nbytes(self) -> int:
        """Bytes of one image."""
        return self.channels * self.height * self.width


def describe(channels: int, height: int, width: int) -> str:
    """A shape in words, width first as people say it: `28×28 grey`."""
    return f"{width}×{height} {_KINDS.get(channels, f'with {channels} channels')}"
