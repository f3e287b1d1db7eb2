"""Arrays in an .npz file of somebody else: numbers only, none larger than its bytes, not unpacked beyond a limit."""

import io
import math
import zipfile
from typing import Any

import numpy as np
import numpy.typing as npt

_NUMBERS = "biuf"  # kinds of dtypes
_HEADER = 10_000  # bytes: the longest that numpy reads


def read_arrays(data: bytes, most: int) -> dict[str, npt.NDArray[Any]]:
    """The arrays in an .npz file, by name.

    Args:
        data: its content.
        most: bytes of all arrays together. A file that unpacks to more is not unpacked.

    Raises:
        ValueError: it unpacks to more, or an array has not the elements that its header says, or no numbers.
        zipfile.BadZipFile, NotImplementedError, …: it is no such file; zipfile has many errors.
    """
    arrays: dict[str, npt.NDArray[Any]] = {}
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = archive.infolist()
        if (size := sum(member.file_size for member in members)) > most + _HEADER * len(members):
            raise ValueError(f"arrays of {size:,} bytes, where at most {most:,} are needed")
        for member in members:
            name = member.filename.removesuffix(".npy")
            if name in arrays or name == member.filename:
                raise ValueError(f"the entry {member.filename!r:.100}")
            arrays[name] = _array(archive.read(member), name)  # at most file_size bytes
    return arrays


def _array(content: bytes, name: str) -> npt.NDArray[Any]:
    stream = io.BytesIO(content)
    version = np.lib.format.read_magic(stream)
    if version not in ((1, 0), (2, 0)):
        raise ValueError(f"{name!r:.100} in version {version} of the format")
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, by_column, dtype = read(stream)
    rest = len(content) - stream.tell()
    if dtype.kind not in _NUMBERS or math.prod(shape) * dtype.itemsize != rest:
        raise ValueError(f"{name!r:.100} of type {dtype} and shape {shape} in {rest} bytes")
    values = np.frombuffer(content, dtype, offset=stream.tell()).reshape(shape, order="F" if by_column else "C")
    return values.copy()
