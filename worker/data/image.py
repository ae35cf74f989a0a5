"""Pictures of any size become pixels of the one size that a model sees.

Travels inside every bundle. N pictures, C channels (1 grey, 3 colour), H x W pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from worker.data.cells import CellError, RawColumn
from worker.data.pictures import read_picture

CHUNK_BYTES = 2**24  # of pixels that are scaled at once
LUMA = (19595, 38470, 7471)  # of 65536: how bright red, green and blue look (ITU-R BT.601)


@dataclass(frozen=True)
class Images:
    """A raw column. Picture n is `pixels` from `starts[n]` on, C x H x W; -1 where there is none.

    `pixels` are all there are in a file, mapped; only those asked for are ever read.
    """

    pixels: Tensor  # (bytes,)
    starts: Tensor  # (N,)
    sizes: Tensor  # (N, 3): C, H, W

    def __len__(self) -> int:
        return len(self.starts)

    def take(self, rows: Tensor) -> Images:
        return Images(self.pixels, self.starts[rows], self.sizes[rows])

    def find_missing(self) -> list[int]:
        missing: list[int] = (self.starts < 0).nonzero().squeeze(1).tolist()
        return missing

    def group(self) -> list[tuple[tuple[int, ...], Tensor]]:
        """Each size that occurs, with its rows."""
        sizes, numbers = torch.unique(self.sizes, dim=0, return_inverse=True)
        return [
            (tuple(size), (numbers == number).nonzero().squeeze(1))
            for number, size in enumerate(sizes.tolist())
        ]

    def gather(self, rows: Tensor, size: tuple[int, ...]) -> Tensor:
        """(n, C, H, W) of pictures that all have that size."""
        starts, length = self.starts[rows], size[0] * size[1] * size[2]
        first = int(starts.min())
        places = (starts - first) // length
        if ((starts - first) % length == 0).all():  # they lie in a row, maybe with gaps
            lined = self.pixels[first : first + length * (int(places.max()) + 1)].view(-1, length)
            return lined.index_select(0, places).view(-1, *size)
        return self.pixels[starts[:, None] + torch.arange(length)].view(-1, *size)


@dataclass(frozen=True)
class ImageInput:
    """The one column of pictures that a model sees."""

    name: str
    channels: int
    height: int
    width: int

    takes = "image"

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.channels, self.height, self.width)

    @property
    def example(self) -> str:
        return "picture.png"

    def read(self, cells: list[Any]) -> Images:
        pictures = [self.read_cell(cell, row) for row, cell in enumerate(cells, start=1)]
        sizes = torch.tensor([picture.shape for picture in pictures])
        lengths = sizes.prod(1)
        pixels = torch.cat([picture.flatten() for picture in pictures])
        return Images(pixels, lengths.cumsum(0) - lengths, sizes)

    def read_cell(self, cell: Any, row: int) -> Tensor:
        if cell is None or (isinstance(cell, str) and not cell):
            raise CellError(self.name, row, "is missing")
        try:
            return read_picture(cell)
        except ValueError as error:
            raise CellError(self.name, row, str(error)) from error

    def encode(self, values: RawColumn) -> Tensor:
        """(N, C, H, W) uint8. No picture may be missing."""
        assert isinstance(values, Images)
        encoded = torch.empty(len(values), *self.shape, dtype=torch.uint8)
        for size, rows in values.group():
            count = max(1, CHUNK_BYTES // (size[0] * size[1] * size[2]))
            for some in torch.split(rows, count):
                encoded[some] = self.fit(values.gather(some, size))
        return encoded

    def fit(self, pictures: Tensor) -> Tensor:
        """(n, ...) of one size to (n, C, H, W)."""
        return scale(recolour(pictures, self.channels), self.height, self.width)

    def to_json(self) -> dict[str, Any]:
        size = {"channels": self.channels, "height": self.height, "width": self.width}
        return {"name": self.name, "kind": "image", **size}

    @staticmethod
    def from_json(state: dict[str, Any]) -> ImageInput:
        return ImageInput(state["name"], *(state[key] for key in ("channels", "height", "width")))


def recolour(pictures: Tensor, channels: int) -> Tensor:
    """uint8 -> uint8; grey is how bright the colour looks, as Pillow computes it."""
    if pictures.shape[1] == channels:
        return pictures
    if channels == 3:
        return pictures.expand(-1, 3, -1, -1)
    weights = torch.tensor(LUMA, dtype=torch.int32)[:, None, None]
    bright = (pictures * weights).sum(1, keepdim=True, dtype=torch.int32)
    return ((bright + 2**15) >> 16).to(torch.uint8)


def scale(pictures: Tensor, height: int, width: int) -> Tensor:
    """uint8 -> uint8, without regard to the proportions."""
    if pictures.shape[2:] == (height, width):
        return pictures
    # One plane is one picture to torch, so that it computes each alike whatever stands beside it.
    planes = pictures.reshape(-1, 1, *pictures.shape[2:]).float()
    scaled = F.interpolate(planes, (height, width), mode="bilinear", antialias=True)
    whole = scaled.round().clamp(0, 255).to(torch.uint8)
    return whole.view(len(pictures), -1, height, width)
