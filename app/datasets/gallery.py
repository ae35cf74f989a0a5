"""The pictures of a dataset's preview, to look at."""

import io
from typing import Any, BinaryIO

from PIL import Image

from app.datasets.service import open_file, read_preview_cells
from app.datasets.tables import Dataset
from app.errors import NotFound


def read_picture(dataset: Dataset, row: int, column: str | None) -> bytes:
    """PNG. `row` counts from 1; without `column`, the first of pictures. Raises NotFound."""
    names = [c["name"] for c in dataset.columns if c["kind"] == "image"]
    name = column or (names[0] if names else "")
    if name not in names:
        raise NotFound("No such image column.")
    cells = read_preview_cells(dataset, row)
    place = [c["name"] for c in dataset.columns].index(name)
    picture = cells[row - 1][place] if row <= len(cells) else None
    if picture is None:
        raise NotFound("There is no picture in this row, or the preview does not reach it.")
    with open_file(dataset, "pixels.bin") as pixels:
        return _encode(pixels, picture)


def _encode(pixels: BinaryIO, picture: dict[str, Any]) -> bytes:
    size = picture["width"], picture["height"]
    pixels.seek(picture["start"])
    planes = [
        Image.frombytes("L", size, pixels.read(size[0] * size[1]))
        for _ in range(picture["channels"])
    ]
    image = planes[0] if len(planes) == 1 else Image.merge("RGB", planes)
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()
