"""Folders on any file system: a local path, or a URL that pyarrow or fsspec can open.

Everything is written through `Folder.write`, so that a file appears complete or not at all: on a local disk by writing
beside it and renaming, on object stores because an upload becomes visible when it ends.
"""

import os
import posixpath
import re
import stat
import uuid
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from export.json_object import parse_object
from export.owner import MARK, Owner
from export.parquet import parquet_bytes, read_parquet
from vae_core.errors import OutputError, StorageFailed, UserError
from vae_core.text import printable

_OBJECT_STORES = tuple(
    getattr(pafs, name) for name in ("S3FileSystem", "GcsFileSystem", "AzureFileSystem") if hasattr(pafs, name)
)
_TRIES = 5
_GCS_LIMIT, _GCS_RETRY_SECONDS = "retry_limit_seconds", 20
_PROBE = ".writable"
_TEMPORARY = re.compile(rf"\..+\.({MARK})\.[0-9a-f]{{8}}")


def is_url(path: str) -> bool:
    """Whether `path` names its own storage (s3://…, gs://…, file://…), rather than this machine's disk."""
    return "://" in path


def open_filesystem(path: str) -> tuple[pafs.FileSystem, str]:
    """The file system that holds `path`, and the path inside it.

    Raises:
        UserError: the path is empty or no UTF-8, the URL's scheme is unknown, or its storage is out of reach of the
            credentials.
    """
    if not path:
        raise UserError("a path must name a file, a folder or a URL, got an empty one; . is this folder")
    try:
        path.encode()
    except UnicodeError as error:
        raise UserError(f"a path must be UTF-8, got {printable(path)}; rename it") from error
    if not is_url(path):
        return pafs.LocalFileSystem(), str(Path(path).expanduser().absolute())
    try:
        filesystem, inner = pafs.FileSystem.from_uri(_with_limit(path))
        return filesystem, inner
    except pa.ArrowInvalid:
        pass  # a scheme that only fsspec may support
    except OSError as error:
        raise UserError(f"cannot open {path}: {error}; check the address and the credentials") from error
    import fsspec

    try:
        fsspec_filesystem, inner = fsspec.core.url_to_fs(path)
    except (ValueError, ImportError, OSError) as error:
        raise UserError(f"cannot open {path}: {error}; install what serves this scheme or use another") from error
    return pafs.PyFileSystem(pafs.FSSpecHandler(fsspec_filesystem)), inner


def _with_limit(url: str) -> str:
    """A URL of Google's storage with a limit of its retries, which otherwise end after a quarter of an hour."""
    if not url.startswith(("gs://", "gcs://")) or _GCS_LIMIT in url:
        return url
    return f"{url}{'&' if '?' in url else '?'}{_GCS_LIMIT}={_GCS_RETRY_SECONDS}"


class Entry(NamedTuple):
    """One file below a folder."""

    name: str  # relative to the folder, with forward slashes
    size: int  # bytes


class Folder:
    """A directory on some file system. It need not exist until something is written into it.

    Every method that takes a name raises a UserError unless the name is relative and stays inside: `a/b.txt`, but no
    `../b`, `/b`, `a//b`, backslash or NUL.
    """

    def __init__(self, url: str, filesystem: pafs.FileSystem, path: str) -> None:
        self.url = url
        self.filesystem = filesystem
        self.path = path

    @classmethod
    def at(cls, url: str | os.PathLike[str]) -> "Folder":
        """The folder at a local path or a URL; see `open_filesystem` for what it raises."""
        text = os.fspath(url)
        filesystem, path = open_filesystem(text)
        return cls(text.rstrip("/") or "/", filesystem, path.rstrip("/") or "/")

    def __repr__(self) -> str:
        return f"Folder({self.url!r})"

    def __reduce__(self) -> tuple[object, tuple[str]]:
        # Pickled as its address: fsspec's file systems hold sockets and locks.
        return (Folder.at, (self.address,))

    @property
    def address(self) -> str:
        """The folder's URL, or its absolute path: valid in a process with another working directory."""
        return self.url if is_url(self.url) else self.path

    @property
    def is_local(self) -> bool:
        """Whether the folder is on this machine's disk."""
        return isinstance(self.filesystem, pafs.LocalFileSystem)

    @property
    def is_file(self) -> bool:
        """Whether there is a file in its place."""
        with self._naming("look for"):
            return bool(self.filesystem.get_file_info(self.path).type == pafs.FileType.File)

    def child(self, name: str) -> "Folder":
        """The folder `name` inside this one."""
        return Folder(f"{self.url}/{name}", self.filesystem, self.file(name))

    def file(self, name: str) -> str:
        """The path of the file `name`, as this folder's file system understands it."""
        if not _stays_inside(name):
            raise UserError(f"a name inside {self.url} must be a relative path without '..', got {name!r:.100}")
        return posixpath.join(self.path, name)

    def has(self, name: str) -> bool:
        """Whether a file `name` exists here."""
        path = self.file(name)
        with self._naming("look for", name):
            return bool(self.filesystem.get_file_info(path).type == pafs.FileType.File)

    def entries(self, recursive: bool = False) -> Iterator[Entry]:
        """The files here, sorted by name; none if the folder does not exist. Hidden files are left out."""
        found = [
            Entry(info.path.removeprefix(self.path).lstrip("/"), info.size or 0)
            for info in self._list(recursive)
            if info.type == pafs.FileType.File
        ]
        yield from sorted(entry for entry in found if not _is_hidden(entry.name))

    def names(self, recursive: bool = False) -> list[str]:
        """The names of the files here; see `entries`."""
        return [entry.name for entry in self.entries(recursive)]

    def subfolders(self) -> list[str]:
        """The names of the folders directly inside this one, sorted."""
        names = [info.base_name for info in self._list() if info.type == pafs.FileType.Directory]
        return sorted(name for name in names if not _is_hidden(name))

    def _list(self, recursive: bool = False) -> list[pafs.FileInfo]:
        selector = pafs.FileSelector(self.path, allow_not_found=True, recursive=recursive)
        with self._naming("list"):
            found: list[pafs.FileInfo] = self.filesystem.get_file_info(selector)
        return found

    def read(self, name: str, most: int | None = None) -> bytes:
        """The bytes of the file `name`, of which there may be at most `most`.

        Raises:
            FileNotFoundError: there is none.
            StorageFailed: it cannot be read.
            UserError: it is larger, or no regular file: a pipe would never end, nor would some devices.
        """
        path = self.file(name)
        with self._naming("read", name):
            if self.is_local and not stat.S_ISREG(Path(path).stat().st_mode):
                raise UserError(
                    f"{self.url}/{name} must be a regular file, got a folder, pipe or device; put the file in its place"
                )
            with self.filesystem.open_input_file(path) as stream:
                if most is not None and (size := stream.size()) > most:
                    raise UserError(f"{self.url}/{name} must have at most {most:,} bytes, got {size:,}; copy it again")
                data: bytes = stream.read() if most is None else stream.read(most)
        return data

    def read_text(self, name: str) -> str:
        """The file `name` as UTF-8 text."""
        return self.read(name).decode()

    def read_json(self, name: str) -> dict[str, Any]:
        """The JSON object in the file `name`; raises a UserError if it holds anything else."""
        return parse_object(self.read(name), f"{self.url}/{name}")

    @contextmanager
    def opened(self, name: str) -> Iterator[Any]:
        """The file `name`, open for reading; errors are those of `read`, also for what the block reads."""
        path = self.file(name)
        with self._naming("read", name), self.filesystem.open_input_file(path) as stream:
            yield stream

    def read_table(self, name: str, columns: list[str] | None = None) -> pa.Table:
        """The Parquet file `name` as a table."""
        with self.opened(name) as stream:
            return read_parquet(stream, columns, is_remote=not self.is_local)

    def row_groups(self, name: str, columns: list[str] | None = None) -> Generator[pa.Table, None, None]:
        """The row groups of the Parquet file `name`, one after another; a table without rows if there are none."""
        with self.opened(name) as stream, pq.ParquetFile(stream, pre_buffer=not self.is_local) as file:
            for number in range(file.num_row_groups):
                yield file.read_row_group(number, columns=columns, use_threads=not self.is_local)
            if not file.num_row_groups:
                yield file.read(columns=columns, use_threads=False)

    def write(self, name: str, data: bytes | pa.Buffer) -> None:
        """Write the file `name`, which appears complete or not at all; one of that name is replaced."""
        with self.writing(name) as stream:
            stream.write(data)

    @contextmanager
    def writing(self, name: str) -> Iterator[Any]:
        """A binary stream for the content of the file `name`, which appears when the block ends without an error."""
        with self._naming("write", name):
            yield from self._written(name)

    def _written(self, name: str) -> Iterator[Any]:
        target = self.file(name)
        parent, base = posixpath.split(target)
        if not self.is_local:
            # Object stores have no folders; pyarrow would write empty objects instead, one request each.
            if not isinstance(self.filesystem, _OBJECT_STORES):
                self.filesystem.create_dir(parent, recursive=True)
            try:
                with self.filesystem.open_output_stream(target) as stream:
                    yield stream
            except BaseException:
                with suppress(OSError):
                    self.delete(name)  # closing the stream completed the upload
                raise
            return
        # Hidden and of a unique name: no reader lists it, and no two writers share it. A killed process may leave it
        # behind; see `sweep`.
        temporary = Path(parent) / f".{base}.{Owner.current()}.{uuid.uuid4().hex[:8]}"
        try:
            with _created(temporary) as stream:
                yield stream
                stream.flush()
                os.fsync(stream.fileno())
            temporary.replace(target)
        except BaseException:
            with suppress(OSError):  # the first error is the one to report
                temporary.unlink(missing_ok=True)
            raise

    @contextmanager
    def _naming(self, doing: str, name: str = "") -> Iterator[None]:
        """Raise errors of the storage as StorageFailed, which name the file; but a file that is not there as such."""
        try:
            yield
        except (FileNotFoundError, StorageFailed):
            raise
        except OSError as error:
            where = f"{self.url}/{name}" if name else self.url
            raise StorageFailed(f"cannot {doing} {where}: {why(error)}") from error

    def write_text(self, name: str, text: str) -> None:
        """Write a UTF-8 text file; see `write`."""
        self.write(name, text.encode())

    def write_table(self, name: str, table: pa.Table, **options: object) -> None:
        """Write a table as a Parquet file (zstd by default); see `write`."""
        self.write(name, parquet_bytes(table, **options))

    def write_tables(self, name: str, tables: Iterator[pa.Table], **options: object) -> None:
        """Write tables of one schema, at least one, as a Parquet file; of several, each is a row group or more."""
        first, second = next(tables), next(tables, None)
        if second is None:
            self.write_table(name, first, **options)
            return
        rows = options.pop("row_group_size", None)
        options = {"compression": "zstd", **options}
        with self.writing(name) as stream, pq.ParquetWriter(stream, first.schema, **options) as writer:
            for table in chain([first, second], tables):
                writer.write_table(table, rows)

    def delete(self, name: str) -> None:
        """Delete the file `name` if it exists."""
        if self.has(name):
            self.discard(name)

    def discard(self, name: str) -> None:
        """Delete the file `name`, which should exist: `delete` without checking first."""
        path = self.file(name)
        with suppress(FileNotFoundError), self._naming("delete", name):
            self.filesystem.delete_file(path)

    def sweep(self) -> None:
        """Delete incomplete files, here and below, of writers that are surely gone: processes of this machine."""
        if self.is_local:
            for path in Path(self.path).rglob(".*"):
                match = _TEMPORARY.fullmatch(path.name)
                owner = Owner.parse(match[1]) if match else None
                if owner is not None and owner.is_gone:
                    path.unlink(missing_ok=True)

    def delete_all(self) -> None:
        """Delete this folder and everything in it, if it exists."""
        with self._naming("delete"):
            if self.filesystem.get_file_info(self.path).type == pafs.FileType.Directory:
                self.filesystem.delete_dir(self.path)

    def refuse_inside(self, option: str, bundle: "Folder") -> None:
        """Raise an OutputError, which begins with the name of an option, if this is below the folder of a bundle.

        A bundle that holds anything else cannot be opened.
        """
        if type(self.filesystem) is not type(bundle.filesystem):
            return
        inner, outer = (Path(folder.path) for folder in (self, bundle))
        if self.is_local:
            inner, outer = inner.resolve(), outer.resolve()
        if outer in inner.parents:
            reason = "a bundle holds its own files only"
            raise OutputError(f"{option} must not lie in the bundle, got {self.url}: {reason}; choose another")

    def delete_empty(self) -> None:
        """Delete this folder if nothing is in it, not even a file that somebody is writing."""
        if self.is_local:
            with suppress(OSError):
                Path(self.path).rmdir()
        elif not self.names():
            self.delete_all()

    def refuse_file(self, option: str) -> None:
        """Raise an OutputError, which begins with the name of an option, if this is a file or below one."""
        above = map(str, Path(self.path).parents) if self.is_local else ()
        for path in (self.path, *above):
            with self._naming("look for"):
                found = self.filesystem.get_file_info(path).type
            if found in (pafs.FileType.File, pafs.FileType.Unknown):
                kind = "file" if found == pafs.FileType.File else "pipe or device"
                which = f"which is a {kind}" if path == self.path else f"which is below the {kind} {path}"
                raise OutputError(f"{option} must be a folder, got {self.url}, {which}; choose another")
            if found == pafs.FileType.Directory:
                return

    def require_writable(self) -> None:
        """Raise a StorageFailed if nothing can be written here, before work whose result is written at its end.

        Looks at local folders only. One that was not there is not left behind.
        """
        if not self.is_local:
            return
        folder = Path(self.path)
        created = [path for path in (folder, *folder.parents) if not path.exists()]
        try:
            self.write(_PROBE, b"\n")
            self.discard(_PROBE)
        except OSError as error:
            cause = error.__cause__ if isinstance(error.__cause__, OSError) else error
            raise StorageFailed(f"cannot write to {self.url}: {why(cause)}") from error
        finally:
            with suppress(OSError):  # also where another process has begun to write
                for path in created:
                    path.rmdir()


def _created(path: Path) -> BinaryIO:
    """A new file, with the folders above it, which another process may delete at any moment while they are empty."""
    for _ in range(_TRIES):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            return path.open("wb")
        except FileNotFoundError:
            continue
    return path.open("wb")


def why(error: OSError) -> str:
    """The reason of an error of storage, on one line."""
    return error.strerror or " ".join(str(error).split()) or type(error).__name__


def _stays_inside(name: str) -> bool:
    # A child's URL may be parsed again in another process, which decodes %2e.
    return all(
        part not in ("", ".", "..") and "\\" not in part and "\0" not in part
        for text in (name, unquote(name))
        for part in text.split("/")
    )


def _is_hidden(name: str) -> bool:
    return any(part.startswith(".") for part in name.split("/"))
