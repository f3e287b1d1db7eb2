"""Addresses by which a page opens the images that it shows."""

import os
from urllib.parse import quote

import pyarrow.fs as pafs

from export.storage import Folder
from jobs.images.location import locate


def folder_link(folder: str, output: Folder) -> str | None:
    """The address of a folder of local images, with a trailing slash, for a page in `output`; None if it is remote.

    Relative if the page is on the same disk, so that both can be moved or served together.
    """
    if not folder:
        return None
    filesystem, path = locate(folder)
    if not isinstance(filesystem, pafs.LocalFileSystem):
        return None
    path = path.rstrip("/") or "/"
    if output.is_local:
        relative = os.path.relpath(path, output.path).replace(os.sep, "/")
        return quote(relative) + "/"
    return "file://" + quote(path).rstrip("/") + "/"
