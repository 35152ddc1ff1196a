"""Named arrays of a NumPy .npz file, read in blocks, so that a large array is never in memory twice."""

from __future__ import annotations

import math
import os
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np

from gatescope.data.errors import DataError

BLOCK_BYTES = 1 << 22
"""Size of a block in the file; what is computed from it takes several times as much."""


class Header(NamedTuple):
    """Shape and type of an array; `by_columns` is Fortran's order, whose rows are not contiguous."""

    shape: tuple[int, ...]
    by_columns: bool
    dtype: np.dtype


@dataclass(frozen=True)
class Arrays:
    """The arrays of an open file."""

    path: Path
    archive: zipfile.ZipFile

    @property
    def names(self) -> list[str]:
        """Names of the arrays."""
        return [name.removesuffix(".npy") for name in self.archive.namelist() if name.endswith(".npy")]

    def header(self, name: str) -> Header:
        """Return shape and type of an array."""
        with self.archive.open(f"{name}.npy") as member:
            header = _header(member)
        if header.dtype.hasobject:
            hint = "store series of different lengths as one padded array (N, T, F), with lengths (N,)"
            raise DataError(f"{self.path}: an array of Python objects: {hint}")
        self._check_size(name, header)
        return header

    def _check_size(self, name: str, header: Header) -> None:
        """Refuse an array before memory is asked for that it does not fill, or that there is not."""
        needed = math.prod(header.shape) * header.dtype.itemsize
        stored = self.archive.getinfo(f"{name}.npy").file_size
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        if min(header.shape, default=0) < 0 or needed > stored:
            raise DataError(f"{self.path}: array {name!r} is cut off: {header.shape} needs {needed} bytes")
        if needed > memory:
            size = f"{needed / 2**30:.0f} GiB, and this machine has {memory / 2**30:.0f} GiB"
            raise DataError(f"{self.path}: array {name!r} {header.shape} has {size}")

    def read(self, name: str) -> np.ndarray:
        """Return an array."""
        self.header(name)  # refuses objects
        with self.archive.open(f"{name}.npy") as member:
            array: np.ndarray = np.lib.format.read_array(member, allow_pickle=False)
            return array

    def blocks(self, name: str) -> Iterator[np.ndarray]:
        """Yield an array (N, …) in blocks of consecutive rows."""
        shape, by_columns, dtype = self.header(name)
        row_bytes = dtype.itemsize * int(np.prod(shape[1:]))
        rows = max(1, BLOCK_BYTES // max(row_bytes, 1))
        if by_columns:
            whole = self.read(name)
            yield from (whole[start : start + rows] for start in range(0, len(whole), rows))
            return
        with self.archive.open(f"{name}.npy") as member:
            _header(member)
            for start in range(0, shape[0], rows):
                count = min(rows, shape[0] - start)
                content = member.read(count * row_bytes)
                if len(content) < count * row_bytes:
                    raise DataError(f"{self.path}: array {name!r} is cut off")
                yield np.frombuffer(content, dtype).reshape(count, *shape[1:])


def _header(member: IO[bytes]) -> Header:
    """Read the header of an array, up to its values."""
    version = np.lib.format.read_magic(member)
    if version == (1, 0):
        return Header(*np.lib.format.read_array_header_1_0(member))
    return Header(*np.lib.format.read_array_header_2_0(member))


@contextmanager
def open_npz(path: Path) -> Iterator[Arrays]:
    """Open a file of named arrays.

    Raises:
        DataError: there is no such file, it holds no named arrays, or it is damaged; also while it is read.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            yield Arrays(path, archive)
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file") from error
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        if _is_single_array(path):
            what = "one array without a name; save it by np.savez(path, x=…, y=…)"
            raise DataError(f"{path}: {what}") from error
        raise DataError(f"{path}: cannot be decompressed: {error}") from error
    except DataError:
        raise
    except OSError as error:  # a damaged directory of the archive names a place outside the file
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error
    except (ValueError, OverflowError, SyntaxError, TypeError, UnicodeError) as error:  # of a damaged header
        raise DataError(f"{path}: {error}") from error


def _is_single_array(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(np.lib.format.MAGIC_PREFIX)) == np.lib.format.MAGIC_PREFIX
