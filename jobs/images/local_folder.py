"""List a folder on the local disk: every real folder once, however links lead to it.

Names are read as bytes, so that neither the locale nor a name that is not UTF-8 stops the listing.
"""

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple


class LocalFile(NamedTuple):
    """A regular file below a folder."""

    below: str  # path below the folder
    size: int  # bytes
    changed: int  # modification time in nanoseconds


class Refused(NamedTuple):
    """What cannot be read, with the reason."""

    below: str
    reason: str
    is_folder: bool = False


class Ignored(NamedTuple):
    """What is no file that could be read."""

    below: str
    kind: str  # "broken link"


def list_folder(folder: str, hidden: bool = False) -> Iterator[LocalFile | Refused | Ignored]:
    """What is below a folder, in no particular order; of hidden folders what is in them only if asked for.

    Links to folders are followed after all real folders, and a folder that was visited is not visited again: its files
    are named once. Links that lead to a folder above are not followed.

    Raises:
        OSError: the folder itself cannot be listed.
    """
    top = folder.encode()  # UTF-8, whatever the locale
    above = {_identity(parent.stat()) for parent in Path(folder).resolve().parents}
    visited: set[tuple[int, int]] = set()
    real, links = [b""], list[bytes]()
    while real or links:
        if real:
            below = real.pop()
        else:
            links.sort(reverse=True)
            below = links.pop()
        here = top.rstrip(b"/") + b"/" + below
        try:
            status = os.stat(here)  # noqa: PTH116 — a Path cannot be bytes
            identity = _identity(status)
            if identity in above:
                yield Ignored(readable(below), "link to a folder above")
            if identity in above or identity in visited:
                continue
            visited.add(identity)
            with os.scandir(here) as entries:
                for entry in entries:
                    name = below + b"/" + entry.name if below else entry.name
                    if entry.name.startswith(b".") and not hidden:
                        yield Ignored(readable(name), "hidden folder" if entry.is_dir() else "hidden file")
                        continue
                    found = _look(entry, name, real, links)
                    if found is not None:
                        yield found
        except OSError as error:
            if not below:
                raise
            yield Refused(readable(below), f"the folder cannot be listed: {error.strerror}", is_folder=True)


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def _look(
    entry: "os.DirEntry[bytes]", name: bytes, real: list[bytes], links: list[bytes]
) -> LocalFile | Refused | Ignored | None:
    """One entry of a folder; folders are added to those to visit."""
    is_link = entry.is_symlink()
    try:
        status = entry.stat()
    except OSError as error:
        if is_link:
            return Ignored(readable(name), "broken link")
        return Refused(readable(name), f"the file cannot be read: {error.strerror}")
    if stat.S_ISDIR(status.st_mode):
        (links if is_link else real).append(name)
        return None
    try:
        text = name.decode()
    except UnicodeDecodeError:
        return Refused(readable(name), "its name must be UTF-8, which tables can hold; rename it")
    if not stat.S_ISREG(status.st_mode):
        return Ignored(text, "special file")
    return LocalFile(text, status.st_size, status.st_mtime_ns)


def readable(name: bytes) -> str:
    """A name of any bytes as text: those that are not UTF-8 as `\\xe9`."""
    return name.decode(errors="backslashreplace")
