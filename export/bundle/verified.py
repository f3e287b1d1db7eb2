"""Reading a bundle's folder, which may be anybody's: only what its manifest lists, and no more than it lists.

What is read is bounded before it is read: the manifest by a constant, every other file by its listed size.
"""

import hashlib
import re
from collections.abc import Collection, Mapping
from typing import Any

from export.storage import Folder
from vae_core.errors import StorageFailed, UserError

SIGNATURE = "model.sig"
"""A signature of the OpenSSF model-signing tool: the one file that a bundle may have and its manifest does not list."""
_MOST_MANIFEST_BYTES = 64 << 20
_HASH = re.compile(r"[0-9a-fA-F]{64}")


def read_manifest(folder: Folder, name: str, pin: str | None) -> bytes:
    """The content of a bundle's manifest, which is not parsed unless it is the one expected.

    Args:
        folder: of the bundle.
        name: of the manifest.
        pin: its SHA-256, if only one bundle will do.

    Raises:
        UserError: there is none, it is not a regular file or too large, it has another hash, or `pin` is no hash.
    """
    try:
        content = folder.read(name, most=_MOST_MANIFEST_BYTES)
    except OSError as error:
        if isinstance(error, StorageFailed) and not isinstance(error.__cause__, NotADirectoryError):
            raise
        raise UserError(
            f"{folder.url} is not a bundle: it has no {name}; give a directory made by `vae export`"
        ) from error
    require_hash(folder, hashlib.sha256(content).hexdigest(), pin)
    return content


def require_hash(folder: Folder, found: str, pin: str | None) -> None:
    """Raise a UserError unless a bundle's hash is the one expected, if one is; also if that is no hash."""
    if pin is None:
        return
    if not _HASH.fullmatch(pin):
        raise UserError(f"a bundle's hash must be 64 hexadecimal digits, as `vae inspect` prints it, got {pin!r:.100}")
    if found != pin.lower():
        raise UserError(
            f"{folder.url} must be the bundle of hash {pin.lower()}, got {found}; get that bundle from its source, or "
            "expect the new hash if its source says so"
        )


def refuse_unlisted(folder: Folder, listed: Collection[str]) -> None:
    """Raise a UserError if the folder holds anything but the `listed` files, a signature and hidden files.

    A storage that cannot list its files, such as a web server, shows none: only what the manifest lists is ever read.
    """
    try:
        found = {*folder.names(), *(f"{name}/" for name in folder.subfolders())}
    except OSError:
        return
    others = found - {*listed, SIGNATURE}
    if others:
        raise UserError(
            f"{folder.url} must hold the files that its manifest lists only, got {min(others)!r:.100}; delete what "
            "does not belong there, or get the bundle again from its source"
        )


def read_listed(folder: Folder, name: str, entry: Mapping[str, Any]) -> bytes:
    """The content of a file with its `entry` in the manifest, `bytes` and `sha256`.

    Raises:
        UserError: it is missing, not a regular file, or has another size or hash.
    """
    try:
        content = folder.read(name, most=entry["bytes"])
    except FileNotFoundError as error:
        raise UserError(f"{folder.url}/{name} is missing; copy or export the bundle again") from error
    if len(content) != entry["bytes"] or hashlib.sha256(content).hexdigest() != entry["sha256"]:
        raise UserError(f"{folder.url}/{name} is not what was exported (its SHA-256 differs); copy or export it again")
    return content
