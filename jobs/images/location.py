"""Resolve paths and URLs of input files, and list folders and patterns.

An address is a local path or a URL. The path of a URL is literal, as object stores print their keys: `%` and spaces
are not decoded. A query (`?endpoint_override=…`) configures the storage and is kept in every address below it.
"""

import os
import posixpath
import re
from collections.abc import Container, Iterator
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.fs as pafs

from export.storage import is_url, open_filesystem, why
from jobs.images.local_folder import Ignored, LocalFile, Refused, list_folder
from vae_core.errors import StorageFailed, UserError
from vae_core.text import printable

_URL = re.compile(r"(?P<root>[\w+.-]+://[^/?]*)(?P<path>[^?]*(?:\?(?![\w.-]+=)[^?]*)*)(?P<query>\?.*)?", re.DOTALL)
_WILD = re.compile(r"[*?[]")


class Address(NamedTuple):
    """A parsed path or URL."""

    root: str  # scheme and host of a URL; empty for a local path
    path: str
    query: str  # storage options, with the leading `?`

    @classmethod
    def parse(cls, text: str) -> "Address":
        """Parse a path or a URL; local paths become absolute.

        Raises:
            UserError: it is empty, is no UTF-8, or is a URL without a host and a path.
        """
        try:
            text.encode()
        except UnicodeError as error:
            raise UserError(f"a path must be UTF-8, got {printable(text)}; rename it") from error
        if not text:
            raise UserError("a path must name a file, a folder, a pattern or a URL, got an empty one; . is this folder")
        if not is_url(text):
            try:
                return cls("", str(Path(text).expanduser().absolute()), "")
            except RuntimeError as error:  # `~name` of nobody
                raise UserError(f"a path must not begin with the home of an unknown user, got {text}") from error
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
    below: str  # path below the argument's folder; of a named file, its name


class Listing(NamedTuple):
    """What an argument matches."""

    files: list[Found]  # sorted by address
    refused: list[Refused]  # with their addresses: what may hold images, but cannot be read
    ignored: list[Ignored]  # likewise: links that lead nowhere, what is hidden
    marks: list[Found]  # files of the names that were asked for, even if no pattern matches them


def search(argument: str, marks: Container[str] = ()) -> Listing:
    """The files matched by a path, a URL, a folder (recursively) or a pattern; `marks` are names for `Listing.marks`.

    As in a shell, `*` and `?` match within one name and `**` crosses folders. Hidden files and folders are skipped
    unless named. Links are followed, but on a local disk no folder is visited twice.

    Raises:
        UserError: nothing matches.
        StorageFailed: the storage cannot be reached, or the credentials are not accepted.
    """
    address = Address.parse(argument)
    filesystem, path = address.open()
    literal = not address.root and os.path.lexists(path.encode())  # a file with brackets in its name
    wild = not literal and _WILD.search(address.path) is not None
    folder = _fixed_part(path) if wild else path
    try:
        info = filesystem.get_file_info(folder)
        if info.type == pafs.FileType.File and not wild:
            url, name = str(address), address.root + address.path
            named = Found(url, name, info.size or 0, info.mtime_ns, True, posixpath.basename(name))
            return Listing([named], [], [], [])
        if info.type == pafs.FileType.Unknown:
            raise UserError(f"no images at {argument}: it is a pipe or a device; give files, folders, patterns or URLs")
        exists = info.type != pafs.FileType.NotFound
        shows_hidden = wild and "/." in path[len(folder) :]
        entries = list(_below(filesystem, folder, shows_hidden)) if exists or address.root else []
    except OSError as error:
        raise StorageFailed(f"cannot list {argument}: {why(error)}") from error
    except (ValueError, pa.ArrowException) as error:  # the address is none of this storage, or there is no credential
        reason = str(error).partition("\n")[0]
        raise UserError(f"cannot list {argument}: {reason}; check the address and the credentials") from error
    pattern = _pattern(path) if wild else None
    base = folder.rstrip("/")
    outside = path[: len(path) - len(address.path)] if address.root else ""  # what the file system has before the path
    head = "/" + base.removeprefix(outside).lstrip("/") if base else ""

    def place(below: str) -> Address:
        return address._replace(path=f"{head.rstrip('/')}/{below}")

    listing = Listing([], [], [], [])
    hidden: dict[str, str] = {}
    for entry in entries:
        if isinstance(entry, LocalFile) and posixpath.basename(entry.below) in marks and not _hidden(entry.below):
            listing.marks.append(_found(place(entry.below), entry))
        if pattern is not None and not pattern.fullmatch(f"{base}/{entry.below}"):
            continue
        if isinstance(entry, LocalFile) and not shows_hidden and (part := _hidden(entry.below)) is not None:
            hidden[part] = "hidden file" if part == entry.below else "hidden folder"
            continue
        where = place(entry.below)
        match entry:
            case Refused():
                listing.refused.append(entry._replace(below=str(where)))
            case Ignored():
                listing.ignored.append(entry._replace(below=str(where)))
            case LocalFile():
                listing.files.append(_found(where, entry))
    listing.ignored.extend(Ignored(str(place(below)), kind) for below, kind in hidden.items())
    if not listing.files and not listing.refused:
        exists = exists or filesystem.get_file_info(folder).type != pafs.FileType.NotFound
        reason = (
            ("no file matches the pattern" if wild else "the folder is empty") if exists else "the path does not exist"
        )
        raise UserError(f"no images at {argument}: {reason}; give existing files, folders, patterns or URLs")
    listing.files.sort()
    return listing


def _found(where: Address, file: LocalFile) -> Found:
    return Found(str(where), where.root + where.path, file.size, file.changed, False, file.below)


def _below(filesystem: pafs.FileSystem, folder: str, hidden: bool) -> Iterator[LocalFile | Refused | Ignored]:
    """What is below a folder."""
    if isinstance(filesystem, pafs.LocalFileSystem):
        yield from list_folder(folder, hidden)
        return
    for info in filesystem.get_file_info(pafs.FileSelector(folder, recursive=True, allow_not_found=True)):
        if info.type == pafs.FileType.File:
            below = info.path.removeprefix(folder.rstrip("/")).lstrip("/")
            yield LocalFile(below, info.size or 0, info.mtime_ns)


def folder_of(argument: str) -> str:
    """The folder that the files matched by an argument of `search` lie below, without storage options."""
    address = Address.parse(argument)
    filesystem, path = address.open()
    literal = not address.root and os.path.lexists(path.encode())
    below = address.path
    if not literal and _WILD.search(below):
        below = _fixed_part(below)
    elif filesystem.get_file_info(path).type == pafs.FileType.File:
        below = posixpath.dirname(below)
    return f"{address.root}{below}".rstrip("/")


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


def _hidden(below: str) -> str | None:
    """The first part of a path that is hidden, with those before it."""
    parts = below.split("/")
    for number, part in enumerate(parts):
        if part.startswith("."):
            return "/".join(parts[: number + 1])
    return None
