"""Resolve paths and URLs of input files, and list folders and patterns.

An address is a local path or a URL. The path of a URL is literal, as object stores print their keys: `%` and spaces
are not decoded. A query (`?endpoint_override=…`) configures the storage and is kept in every address below it.
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
    """A parsed path or URL."""

    root: str  # scheme and host of a URL; empty for a local path
    path: str
    query: str  # storage options, with the leading `?`

    @classmethod
    def parse(cls, text: str) -> "Address":
        """Parse a path or a URL; local paths become absolute."""
        if not is_url(text):
            return cls("", str(Path(text).expanduser().absolute()), "")
        match = _URL.fullmatch(text)
        if match is None:
            raise UserError(f"a URL must have the form scheme://host/path, got {text}")
        return cls(match["root"], match["path"], match["query"] or "")

    def __str__(self) -> str:
        return f"{self.root}{self.path}{self.query}"

    def open(self) -> tuple[pafs.FileSystem, str]:
        """The file system and the path in it; raises as `open_filesystem` does."""
        filesystem, prefix = _open_root(self.root, self.query)
        return filesystem, self.path if not self.root else _join(prefix, self.path)


@lru_cache(maxsize=64)
def _open_root(root: str, query: str) -> tuple[pafs.FileSystem, str]:
    """One file system, hence one connection pool, per host or bucket."""
    if not root:
        return pafs.LocalFileSystem(), ""
    return open_filesystem(f"{root}/{query}" if root.endswith("//") else f"{root}{query}")


def _join(prefix: str, path: str) -> str:
    return prefix.rstrip("/") + path if path else prefix


@lru_cache(maxsize=256)
def locate(url: str) -> tuple[pafs.FileSystem, str]:
    """The file system of `url`, an absolute path or a URL, and the path in it."""
    return Address.parse(url).open()


class Found(NamedTuple):
    """A file that matches an argument: named by it, or below its folder."""

    url: str  # absolute path or URL
    name: str  # `url` without storage options
    size: int  # bytes
    changed: int | None  # modification time in nanoseconds, if the storage reports it
    named: bool  # the argument was this file, not a folder or a pattern


def search(argument: str) -> list[Found]:
    """The files matched by a path, a URL, a folder (recursively) or a pattern, sorted by address.

    As in a shell, `*` and `?` match within one name and `**` crosses folders. Hidden files and folders are skipped
    unless named.

    Raises:
        UserError: nothing matches, or the storage cannot be reached.
    """
    address = Address.parse(argument)
    filesystem, path = address.open()
    literal = not address.root and Path(path).exists()  # a file with brackets in its name
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
        exists = filesystem.get_file_info(folder).type != pafs.FileType.NotFound
        why = (
            ("no file matches the pattern" if wild else "the folder is empty") if exists else "the path does not exist"
        )
        raise UserError(f"no images at {argument}: {why}; give existing files, folders, patterns or URLs")
    return sorted(found)


def folder_of(argument: str) -> str:
    """The folder that the files matched by an argument of `search` lie below, without storage options."""
    address = Address.parse(argument)
    filesystem, path = address.open()
    literal = not address.root and Path(path).exists()
    below = address.path
    if not literal and _WILD.search(below):
        below = _fixed_part(below)
    elif filesystem.get_file_info(path).type == pafs.FileType.File:
        below = posixpath.dirname(below)
    return f"{address.root}{below}".rstrip("/")


def _found(address: Address, info: pafs.FileInfo, named: bool) -> Found:
    return Found(str(address), address.root + address.path, info.size or 0, info.mtime_ns, named)


def _fixed_part(path: str) -> str:
    """The deepest folder above the first wildcard."""
    first = _WILD.search(path)
    assert first is not None
    return posixpath.dirname(path[: first.start()]) or "/"


def _pattern(path: str) -> re.Pattern[str]:
    """Translate a shell pattern over a whole path to a regular expression."""
    parts = {r"\*\*/": "(?:.*/)?", r"\*\*": ".*", r"\*": "[^/]*", r"\?": "[^/]"}
    text = re.sub(r"\\\*\\\*/|\\\*\\\*|\\\*|\\\?", lambda match: parts[match[0]], re.escape(path))
    # Character classes: re.escape has escaped their brackets too.
    text = re.sub(r"\\\[(!|\\\^)?(.+?)\\\]", lambda m: f"[{'^' if m[1] else ''}{m[2]}]", text)
    return re.compile(text, re.DOTALL)


def _is_hidden(path: str) -> bool:
    return any(part.startswith(".") for part in path.split("/"))
