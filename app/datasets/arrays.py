"""Arrays inside an archive, read a few rows at a time."""

import gzip
import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import IO, Any, Literal, cast

import numpy as np
from numpy.typing import NDArray

from app.datasets.staging import Problem, Rejected

CHUNK_BYTES = 16 * 2**20
MAX_WHOLE_BYTES = 2**30  # of an array that cannot be read row by row
CHANNELS = (1, 3)

Role = Literal["column", "image", "sequence"]
Open = Callable[[], AbstractContextManager[IO[bytes]]]


@dataclass(frozen=True)
class Array:
    """`open` gives its bytes, from the first row on."""

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    open: Open
    fortran: bool = False

    @property
    def rows(self) -> int:
        return self.shape[0]

    @property
    def size_bytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize


def refuse_array(array: Array, reason: str) -> Rejected:
    problem = Problem(reason, "array", member=array.name)
    return Rejected(f"The array {array.name!r} cannot be used: {reason}.", problem)


def find_role(array: Array) -> Role:
    """What its rows are: single values, pictures or sequences. Raises Rejected."""
    ndim, kind = len(array.shape), array.dtype.kind
    if kind not in "biufUSM":
        raise refuse_array(array, f"{array.dtype} holds neither numbers, text nor dates")
    if ndim == 1 or (ndim == 2 and array.shape[1] == 1):
        return "column"
    if 0 in array.shape[1:]:
        raise refuse_array(array, "its rows are empty")
    if kind in "biuf" and ndim == 2:
        return "sequence"
    if array.dtype == np.uint8 and ndim in (3, 4):
        if ndim == 4 and not {array.shape[1], array.shape[3]} & set(CHANNELS):
            raise refuse_array(array, "its pictures have neither 1 nor 3 channels")
        return "image"
    if kind in "biuf" and ndim == 3:
        return "sequence"
    hint = "; pictures must be uint8" if kind in "if" and ndim == 4 else ""
    raise refuse_array(array, f"it has {ndim} dimensions of {array.dtype}{hint}")


def read_chunks(array: Array) -> Iterator[NDArray[Any]]:
    """All rows in order, some at a time. Raises Rejected where they are not all there."""
    with array.open() as file:
        if array.fortran and len(array.shape) > 1:
            yield _read_whole(array, file)
        else:
            yield from _read_rows(array, file)
        if file.read(1):  # at its end, the reader also checks the sum of what it has read
            raise refuse_array(array, "there are more bytes than its shape says")


def _read_rows(array: Array, file: IO[bytes]) -> Iterator[NDArray[Any]]:
    row = math.prod(array.shape[1:]) * array.dtype.itemsize
    step = max(1, CHUNK_BYTES // max(1, row))
    for start in range(0, array.rows, step):
        count = min(step, array.rows - start)
        data = _read_exactly(array, file, count * row)
        yield np.frombuffer(data, array.dtype).reshape(count, *array.shape[1:])


def _read_whole(array: Array, file: IO[bytes]) -> NDArray[Any]:
    if array.size_bytes > MAX_WHOLE_BYTES:
        raise refuse_array(array, "it is large and in Fortran order; use np.ascontiguousarray")
    data = _read_exactly(array, file, array.size_bytes)
    return np.frombuffer(data, array.dtype).reshape(array.shape, order="F")


def _read_exactly(array: Array, file: IO[bytes], size: int) -> bytes:
    data = file.read(size)
    if len(data) < size:
        raise refuse_array(array, "it is cut short")
    return data


@contextmanager
def skip(
    opened: AbstractContextManager[IO[bytes]], size: int, *, gzipped: bool = False
) -> Iterator[IO[bytes]]:
    """A file without its first bytes, and without its gzip."""
    with opened as raw:
        file = cast(IO[bytes], gzip.GzipFile(fileobj=raw)) if gzipped else raw
        file.read(size)
        yield file
