"""Read whole image files; from remote storage, many in parallel to hide latency.

The bytes in memory are bounded: of a large file only the start is read ahead of its turn.
"""

import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import pyarrow.fs as pafs

from export.images.contract import MAX_ENCODED_BYTES, BadImage
from export.storage import is_url
from jobs.images.location import locate
from jobs.images.units import Piece

_THREADS = 16  # requests in flight to remote storage
_AHEAD_BYTES = 2 << 20  # of each of them: larger files are read when it is their turn


def read_files(pieces: Sequence[Piece]) -> Iterator[bytes | BadImage]:
    """Content of each file, in order, or the reason why it cannot be read.

    Raises:
        OSError: the storage cannot be reached.
    """
    urls = [piece.file for piece in pieces]
    if isinstance(locate(urls[0])[0], pafs.LocalFileSystem):
        yield from map(_read_local, urls)
        return
    pending: deque[tuple[str, Future[bytes | BadImage | None]]] = deque()
    with ThreadPoolExecutor(_THREADS) as pool:
        for url in urls:
            pending.append((url, pool.submit(_read_ahead, url)))
            if len(pending) > 2 * _THREADS:
                yield _finish(*pending.popleft())
        while pending:
            yield _finish(*pending.popleft())


def _finish(url: str, ahead: "Future[bytes | BadImage | None]") -> bytes | BadImage:
    content = ahead.result()
    return _read_remote(url) if content is None else content


def _read_ahead(url: str) -> bytes | BadImage | None:
    """A file's content; None if it is large."""
    content = _read_remote(url, _AHEAD_BYTES)
    return None if isinstance(content, bytes) and len(content) > _AHEAD_BYTES else content


def _read_local(url: str) -> bytes | BadImage:
    path = locate(url)[1] if is_url(url) else url
    try:
        # In bytes: Python has another encoding for names in some locales. A Path takes as long as reading the file.
        with open(path.encode(), "rb", buffering=0) as stream:  # noqa: PTH123
            return _too_large() if os.fstat(stream.fileno()).st_size > MAX_ENCODED_BYTES else stream.readall()
    except OSError as error:
        return _unreadable(error)


def _read_remote(url: str, most: int = MAX_ENCODED_BYTES) -> bytes | BadImage:
    filesystem, path = locate(url)
    try:
        with filesystem.open_input_stream(path) as stream:
            data: bytes = stream.read(most + 1)
            return _too_large() if len(data) > MAX_ENCODED_BYTES else data
    except (FileNotFoundError, PermissionError) as error:
        return _unreadable(error)
    # Any other OSError is a storage failure, not a bad file: the job stops and can be resumed.


def _too_large() -> BadImage:
    return BadImage(f"an image file must have at most {MAX_ENCODED_BYTES:,} bytes, got more")


def _unreadable(error: OSError) -> BadImage:
    return BadImage(f"the file cannot be read: {error.strerror or error}")
