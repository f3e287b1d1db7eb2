"""Paths and URLs of input files: which file system holds one, and what lies below it.

An address is a local path or a URL. What follows the host (or the bucket) of a URL is taken literally, as
object stores print their keys: `%` and spaces stand for themselves. A query (`?endpoint_override=…`) belongs
to the storage, and is kept in every address made from it.
"""

import posixpath
import re
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import pyarrow.fs as pafs

from export.storage import is_url, open_filesystem
from vae_core.errors import UserError

_URL = re.compile(r"(?P<root>[\w+.-]+://[^/?]*)(?P<path>[^?]*(?:\?(?![\w.-]+=)[^?]*)*)(?P<query>\?.*)?", re.DOTALL)
_WILD = re.compile(r"[*?[]")


class Address(NamedTuple):
    """A file or a folder, taken apart."""

    root: str  # scheme and host of a URL; empty for a local path
    path: str  # what follows
    query: str  # options of the storage, with the leading `?`

    @classmethod
    def parse(cls, text: str) -> "Address":
        """Take apart a path or a URL; a local path is made absolute."""
        if not is_url(text):
            return cls("", str(Path(text).expanduser().absolute()), "")
        match = _URL.fullmatch(text)
        if match is None:
            raise UserError(f"cannot read the address {text}: write it as scheme://host/path")
        return cls(match["root"], match["path"], match["query"] or "")

    def __str__(self) -> str:
        return f"{self.root}{self.path}{self.query}"

    def open(self) -> tuple[pafs.FileSystem, str]:
        """The file system and the path inside it; see `open_filesystem` for what it raises."""
        filesystem, prefix = _open_root(self.root, self.query)
        return filesystem, self.path if not self.root else _join(prefix, self.path)


@lru_cache(maxsize=64)
def _open_root(root: str, query: str) -> tuple[pafs.FileSystem, str]:
    """One file system, and so one pool of connections, for all files of a host or bucket."""
    if not root:
        return pafs.LocalFileSystem(), ""
    return open_filesystem(f"{root}/{query}" if root.endswith("//") else f"{root}{query}")


def _join(prefix: str, path: str) -> str:
    return prefix.rstrip("/") + path if path else prefix


@lru_cache(maxsize=256)
def locate(url: str) -> tuple[pafs.FileSystem, str]:
    """The file system that holds the file at `url`, an absolute path or a URL, and the path inside it."""
    return Address.parse(url).open()


class Found(NamedTuple):
    """A file that an argument named, or that lies below a folder that it named."""

    url: str  # an absolute path, or a URL
    name: str  # the same without the storage's options
    size: int  # bytes
    changed: int | None  # when it was last written, in nanoseconds, where the storage tells
    named: bool  # the argument was this very file, not a folder or a pattern


def search(argument: str) -> list[Found]:
    """The files that a path, a URL, a folder (all below it) or a pattern names, sorted by address.

    `*` and `?` stay inside one name and `**` crosses folders, as in a shell. Hidden files (and folders) are
    left out unless named.

    Raises:
        UserError: nothing is there, or the storage cannot be reached.
    """
    address = Address.parse(argument)
    filesystem, path = address.open()
    literal = not address.root and Path(path).exists()  # a file whose name holds brackets
    wild = not literal and _WILD.search(address.path) is not None
    folder = _fixed_part(path) if wild else path
    try:
        info = filesystem.get_file_info(folder)
        if info.type == pafs.FileType.File and not wild:
            return [_found(address, info, named=True)]
        infos = filesystem.get_file_info(pafs.FileSelector(folder, recursive=True, allow_not_found=True))
    except OSError as error:
        raise UserError(f"cannot list {argument}: {error}; check the address and the credentials") from error
    pattern = _pattern(path) if wild else None
    head = path[: len(path) - len(address.path)] if address.root else ""
    found = []
    for info in infos:
        if info.type != pafs.FileType.File or (pattern and not pattern.fullmatch(info.path)):
            continue
        if _is_hidden(info.path.removeprefix(folder)):
            continue
        below = "/" + info.path.removeprefix(head).lstrip("/")
        found.append(_found(address._replace(path=below), info, named=False))
    if not found:
        there = filesystem.get_file_info(folder).type != pafs.FileType.NotFound
        why = ("no file matches the pattern" if wild else "the folder is empty") if there else "there is no such path"
        raise UserError(f"no images at {argument}: {why}; give files, folders, patterns or URLs that exist")
    return sorted(found)


def _found(address: Address, info: pafs.FileInfo, named: bool) -> Found:
    return Found(str(address), address.root + address.path, info.size or 0, info.mtime_ns, named)


def _fixed_part(path: str) -> str:
    """The deepest folder above the first wildcard."""
    first = _WILD.search(path)
    assert first is not None
    return posixpath.dirname(path[: first.start()]) or "/"


def _pattern(path: str) -> re.Pattern[str]:
    """The regular expression of a shell pattern over a whole path."""
    parts = {r"\*\*/": "(?:.*/)?", r"\*\*": ".*", r"\*": "[^/]*", r"\?": "[^/]"}
    text = re.sub(r"\\\*\\\*/|\\\*\\\*|\\\*|\\\?", lambda match: parts[match[0]], re.escape(path))
    # Character classes: re.escape has escaped their brackets too.
    text = re.sub(r"\\\[(!|\\\^)?(.+?)\\\]", lambda m: f"[{'^' if m[1] else ''}{m[2]}]", text)
    return re.compile(text, re.DOTALL)


def _is_hidden(path: str) -> bool:
    return any(part.startswith(".") for part in path.split("/"))
