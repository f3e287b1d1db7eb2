"""Whole image files: their bytes, many at a time where each takes a journey to the storage."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow.fs as pafs

from jobs.images.contract import MAX_ENCODED_BYTES, BadImage
from jobs.images.location import locate
from jobs.images.units import Piece

_THREADS = 16  # requests in flight to remote storage


def read_files(pieces: Sequence[Piece]) -> Iterator[bytes | BadImage]:
    """The content of each file in order, or why it cannot be read.

    Raises:
        OSError: the storage cannot be reached.
    """
    if isinstance(locate(pieces[0].file)[0], pafs.LocalFileSystem):
        yield from map(_read, (piece.file for piece in pieces))
        return
    with ThreadPoolExecutor(_THREADS) as pool:
        yield from pool.map(_read, (piece.file for piece in pieces))


def _read(url: str) -> bytes | BadImage:
    filesystem, path = locate(url)
    local = isinstance(filesystem, pafs.LocalFileSystem)
    try:
        if local:
            with Path(path).open("rb") as stream:
                data = stream.read(MAX_ENCODED_BYTES + 1)
        else:
            with filesystem.open_input_stream(path) as stream:
                data = stream.read(MAX_ENCODED_BYTES + 1)
    except (FileNotFoundError, PermissionError) as error:
        return BadImage(f"the file cannot be read: {error.strerror or error}")
    except OSError as error:
        if not local:
            raise  # not this file's fault: the job stops, and goes on when the storage answers again
        return BadImage(f"the file cannot be read: {error.strerror or error}")
    if len(data) > MAX_ENCODED_BYTES:
        return BadImage("the file has more bytes than any image may")
    return data
