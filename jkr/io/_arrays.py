"""NumPy's files: one array (`.npy`), or several by name in an archive (`.npz`); no pickle.

The header of an array is compared with the bytes that follow it before anything is allocated.
"""

import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from math import inf, prod
from pathlib import Path
from typing import IO

import numpy as np

MAGIC = b"\x93NUMPY"
_FEWER = {zipfile.ZIP_STORED: 1, zipfile.ZIP_DEFLATED: 1032}  # times that bytes are made, at most
_HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


class Archive:
    """The arrays in an `.npz` file.

    Attributes:
        names: in the order of the file.
    """

    def __init__(self, archive: zipfile.ZipFile, size: int):
        for info in archive.infolist():
            most = info.compress_size * _FEWER.get(info.compress_type, inf)
            if info.compress_size > size or info.file_size > most:
                raise ValueError(
                    f"its directory promises {info.file_size} bytes of {info.filename}, "
                    f"and {min(info.compress_size, size)} are there"
                )
        self._members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
        self._archive = archive
        self.names = tuple(self._members)

    def check(self) -> None:
        """Every header promises what is there."""
        for info in self._members.values():
            with self._archive.open(info) as file:
                _check_header(file, info.file_size)

    def __getitem__(self, name: str) -> np.ndarray:
        info = self._members[name]
        with self._archive.open(info) as file:
            _check_header(file, info.file_size)
        with self._archive.open(info) as file:
            return np.lib.format.read_array(file, allow_pickle=False)


@contextmanager
def opened(path: Path) -> Iterator[Archive]:
    """The arrays in an `.npz` file, which is open as long as they are read."""
    with zipfile.ZipFile(path) as archive:
        yield Archive(archive, path.stat().st_size)


def read_npy(path: Path) -> np.ndarray:
    """The array in an `.npy` file."""
    with path.open("rb") as file:
        _check_header(file, path.stat().st_size)
        file.seek(0)
        return np.lib.format.read_array(file, allow_pickle=False)


def _check_header(file: IO[bytes], size: int) -> None:
    version = np.lib.format.read_magic(file)
    if version not in _HEADERS:
        raise ValueError(f"an array of numbers has version 1.0 or 2.0, not {version}")
    shape, _, dtype = _HEADERS[version](file)
    if dtype.hasobject:
        raise ValueError("it holds pickled Python objects")
    promised, there = prod(shape) * dtype.itemsize, size - file.tell()
    if min(shape, default=0) < 0 or promised > there:
        raise ValueError(f"a header promises shape {shape} of {dtype}, and {there} bytes follow")


def of_numbers(array: np.ndarray) -> np.ndarray:
    """A dense tensor: finite numbers, some at least, NaN where entries are missing."""
    if array.dtype.kind not in "biufc":
        raise ValueError(f"a tensor of numbers is needed, and it holds {array.dtype} entries")
    if array.ndim == 0:
        raise ValueError("a tensor is needed, and it holds one number")
    if array.size == 0:
        raise ValueError(f"it holds nothing, in shape {array.shape}")
    if np.isinf(array).any() or np.isnan(array).all():
        raise ValueError("it holds inf, or nothing but NaN (NaN marks a missing entry)")
    return array
