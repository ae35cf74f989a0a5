"""Where the pictures of a dataset lie: `pixels.bin` beside the table.

uint8, C x H x W, one picture after another. A row of the table holds (name, start, channels,
height, width); `start` is in bytes.
"""

import errno
import shutil
from pathlib import Path
from typing import Self

import numpy as np

from app.datasets.pictures import Pixels
from app.datasets.staging import MAX_RATIO, Rejected, allowed_bytes

FILE = "pixels.bin"
FREE_BYTES = 256 * 2**20  # of disk, left for everything else
CHECK_BYTES = 64 * 2**20
# The cell of a picture, from columns of these names.
PICTURE = (
    "{'name': name::VARCHAR, 'start': start::BIGINT, 'channels': channels::INTEGER,"
    " 'height': height::INTEGER, 'width': width::INTEGER}"
)


class PixelFile:
    """Takes pictures one after another."""

    def __init__(self, original: Path) -> None:
        self._path = original.with_name(FILE)
        self._limit = allowed_bytes(original.stat().st_size)
        self._checked = -CHECK_BYTES
        self.size = 0

    def __enter__(self) -> Self:
        self._file = self._path.open("wb")
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        if not self.size:
            self._path.unlink()

    def add(self, pixels: Pixels) -> int:
        """Append one picture, or many of one shape. Returns where they start."""
        start = self.size
        self.size += pixels.nbytes
        if self.size > self._limit:
            message = f"The pictures are more than {MAX_RATIO} times as large as the file."
            raise Rejected(message, kind="dataset-too-large")
        if self.size - self._checked >= CHECK_BYTES:
            self._checked = self.size
            if shutil.disk_usage(self._path.parent).free < FREE_BYTES + CHECK_BYTES:
                raise OSError(errno.ENOSPC, "no room for the pictures")
        self._file.write(np.ascontiguousarray(pixels).data)
        return start
