"""Rows in a file that is mapped into memory: as many as the disk holds, a few of them at a time.

The file has no name. It is gone with the process, however that ends. N rows, F inputs, T tokens of
the longest row.
"""

import copy
import errno
import mmap
import os
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

PIECE_BYTES = 2**21  # taken before what was read is forgotten: the kernel maps more than was asked

Array = NDArray[Any]


class Spool:
    """Numbers of one type, written one after the other, then mapped."""

    def __init__(self, folder: Path, dtype: str) -> None:
        self.dtype = np.dtype(dtype)
        self.size = 0  # bytes
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - lives as long as its map

    def append(self, numbers: Array) -> None:
        """Raises OSError when the disk is full."""
        self.size += self._file.write(np.ascontiguousarray(numbers, self.dtype).data.cast("B"))

    def map(self) -> "Mapped":
        self._file.flush()
        mapped = Mapped(self._file.fileno(), self.size, self.dtype)
        self._file.close()
        return mapped


class Mapped:
    """`numbers` reads the file. What was read stays in memory until `forget`."""

    def __init__(self, file: int, size: int, dtype: Any) -> None:
        # Private, as torch warns of tensors that cannot be written to; nobody does.
        self._map = mmap.mmap(file, size, access=mmap.ACCESS_COPY) if size else None
        self._itemsize = dtype.itemsize
        self.numbers: Array = np.frombuffer(self._map, dtype) if self._map else np.empty(0, dtype)

    def expect(self, first: int, last: int) -> None:
        """Have the kernel read these numbers from disk, without waiting for it."""
        if self._map is not None and last > first:
            start = first * self._itemsize // mmap.PAGESIZE * mmap.PAGESIZE
            self._map.madvise(mmap.MADV_WILLNEED, start, last * self._itemsize - start)

    def forget(self) -> None:
        """Free the memory of what was read. It may be read again."""
        if self._map is not None:
            self._map.madvise(mmap.MADV_DONTNEED)


def refuse_full_disk(folder: Path, needed: int) -> None:
    """Raises OSError if `needed` more bytes do not fit."""
    disk = os.statvfs(folder)
    free = disk.f_bavail * disk.f_frsize
    if needed > free:
        raise OSError(
            errno.ENOSPC,
            f"the encoded rows need {needed / 2**30:.1f} GiB on disk, and {free / 2**30:.1f} GiB "
            "are free",
        )


# ---------------------------------------------------------------- rows


class MappedRows(ABC):
    """The rows of a part. `aside` is forgotten with them."""

    def __init__(self, maps: Sequence[Mapped], aside: Mapped) -> None:
        self._maps = (*maps, aside)
        self.device = torch.device("cpu")  # where batches of it will lie

    @abstractmethod
    def __len__(self) -> int: ...

    @property
    @abstractmethod
    def row_bytes(self) -> int:
        """In the memory of a model."""

    @abstractmethod
    def read(self, rows: Array) -> Tensor:
        """(len(rows), ...)"""

    @abstractmethod
    def expect(self, first: int, last: int) -> None:
        """Have these rows read, without waiting for it."""

    def forget(self) -> None:
        for mapped in self._maps:
            mapped.forget()

    def to(self, device: torch.device) -> "MappedRows":
        moved = copy.copy(self)
        moved.device = device
        return moved

    def take(self, rows: Array, places: Array | None = None) -> Tensor:
        """(len(rows), ...), row `rows[i]` at `places[i]`; not yet on the device."""
        size = max(1, PIECE_BYTES // self.row_bytes)
        taken = torch.empty(0)
        for first in range(0, len(rows), size):
            piece = slice(first, first + size)
            read = self.read(rows[piece])
            if first == 0:
                taken = read.new_empty(len(rows), *read.shape[1:])
            taken.numpy()[piece if places is None else places[piece]] = read.numpy()
            self.forget()
        return taken

    def index_select(self, _dim: int, rows: Tensor) -> Tensor:
        return self.take(rows.cpu().numpy()).to(self.device)

    def split(self, size: int) -> Iterator[Tensor]:
        for first in range(0, len(self), size):
            last = min(first + size, len(self))
            self.expect(first, last)
            yield self.take(np.arange(first, last)).to(self.device)


class MappedTable(MappedRows):
    """Encoded columns side by side: (N, F) float32."""

    def __init__(self, cells: Mapped, width: int, aside: Mapped) -> None:
        super().__init__([cells], aside)
        self._cells, self.width = cells, width

    def __len__(self) -> int:
        return len(self._cells.numbers) // self.width

    @property
    def row_bytes(self) -> int:
        return 4 * self.width

    def read(self, rows: Array) -> Tensor:
        read = torch.empty(len(rows), self.width)
        table = self._cells.numbers.reshape(-1, self.width)
        np.take(table, rows, axis=0, out=read.numpy(), mode="clip")
        return read

    def expect(self, first: int, last: int) -> None:
        self._cells.expect(first * self.width, last * self.width)


class MappedTokens(MappedRows):
    """Token numbers of rows of any length: (N, T) long, filled up with 0."""

    def __init__(self, tokens: Mapped, starts: Mapped, longest: int, aside: Mapped) -> None:
        super().__init__([tokens, starts], aside)
        self._tokens, self._starts, self.longest = tokens, starts, longest  # (Z,), (N + 1,)

    def __len__(self) -> int:
        return len(self._starts.numbers) - 1

    @property
    def row_bytes(self) -> int:
        return 8 * self.longest

    def read(self, rows: Array) -> Tensor:
        starts, ends = self._starts.numbers[rows], self._starts.numbers[rows + 1]
        places = starts[:, None] + np.arange(self.longest)
        inside = places < ends[:, None]
        read = torch.zeros(len(rows), self.longest, dtype=torch.long)
        read.numpy()[inside] = self._tokens.numbers[places[inside]]
        return read

    def expect(self, first: int, last: int) -> None:
        starts = self._starts.numbers
        self._tokens.expect(int(starts[first]), int(starts[last]))
