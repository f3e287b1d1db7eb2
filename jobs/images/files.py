"""Read whole image files; from remote storage, many in parallel to hide latency."""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import pyarrow.fs as pafs

from export.images.contract import MAX_ENCODED_BYTES, BadImage
from export.storage import is_url
from jobs.images.location import locate
from jobs.images.units import Piece

_THREADS = 16  # requests in flight to remote storage


def read_files(pieces: Sequence[Piece]) -> Iterator[bytes | BadImage]:
    """Content of each file, in order, or the reason why it cannot be read.

    Raises:
        OSError: the storage cannot be reached.
    """
    urls = [piece.file for piece in pieces]
    if isinstance(locate(urls[0])[0], pafs.LocalFileSystem):
        yield from map(_read_local, urls)
        return
    with ThreadPoolExecutor(_THREADS) as pool:
        yield from pool.map(_read_remote, urls)


def _read_local(url: str) -> bytes | BadImage:
    path = locate(url)[1] if is_url(url) else url
    try:
        with open(path, "rb", buffering=0) as stream:  # noqa: PTH123 — building a Path takes as long as reading the file
            return _too_large() if os.fstat(stream.fileno()).st_size > MAX_ENCODED_BYTES else stream.readall()
    except OSError as error:
        return _unreadable(error)


def _read_remote(url: str) -> bytes | BadImage:
    filesystem, path = locate(url)
    try:
        with filesystem.open_input_stream(path) as stream:
            data: bytes = stream.read(MAX_ENCODED_BYTES + 1)
            return _too_large() if len(data) > MAX_ENCODED_BYTES else data
    except (FileNotFoundError, PermissionError) as error:
        return _unreadable(error)
    # Any other OSError is a storage failure, not a bad file: the job stops and can be resumed.


def _too_large() -> BadImage:
    return BadImage(f"an image file must have at most {MAX_ENCODED_BYTES:,} bytes, got more")


def _unreadable(error: OSError) -> BadImage:
    return BadImage(f"the file cannot be read: {error.strerror or error}")
