"""Write the files of a gallery beside the page: its data, and its pictures in sheets that are loaded as one scrolls.

A browser refuses a page opened from disk to fetch files, but not to load scripts; so sheets are scripts. A sheet
holds the pictures of `SHEET` images as data: URIs: forty files for ten thousand images, where object storage would
take minutes for ten thousand files, and each picture is decoded alone, where an image sprite of many would be decoded
whole for one that is visible.
"""

from concurrent.futures import ThreadPoolExecutor

from export.storage import Folder
from jobs.report.blocks import Gallery
from jobs.report.gallery.content import SHEET, GalleryContent

FOLDER = "gallery"
INLINE = 200
"""Up to so many images, everything is in the page itself."""
_WRITERS = 8


def write_gallery(output: Folder, content: GalleryContent) -> Gallery:
    """Write the files that a gallery needs, and return its block of a page in `output`.

    Files of an earlier gallery are deleted. The page must be written afterwards.
    """
    count, folder = len(content.files), output.child(FOLDER)
    if count <= INLINE:
        folder.delete_all()
        return Gallery(content.to_json(), content.pictures_json(0, count), "", count)
    folder.write_text("data.js", f"gallery.receive({content.to_json()});\n")

    def write_sheet(number: int) -> str:
        name, pictures = _sheet(number), content.pictures_json(number * SHEET, (number + 1) * SHEET)
        folder.write_text(name, f"gallery.receivePictures({number}, {pictures});\n")
        return name

    with ThreadPoolExecutor(_WRITERS) as pool:
        written = {"data.js", *pool.map(write_sheet, range(-(-count // SHEET)))}
    for name in folder.names():
        if name not in written:
            folder.discard(name)
    return Gallery("", "", FOLDER, count)


def _sheet(number: int) -> str:
    return f"pictures-{number:04d}.js"
