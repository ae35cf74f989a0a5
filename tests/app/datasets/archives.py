"""Archives, pictures and arrays for tests, and a look at the pixels that were stored."""

import gzip
import io
import struct
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
from numpy.typing import NDArray
from PIL import Image


def make_picture(
    colour: Any = (10, 20, 30),
    size: tuple[int, int] = (3, 2),
    mode: str = "RGB",
    format: str = "PNG",
    **options: Any,
) -> bytes:
    """`size` is width and height."""
    return encode(Image.new(mode, size, colour), format, **options)


def encode(image: Image.Image, format: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def make_zip(files: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", compression) as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name), content, compression)
    return out.getvalue()


def make_tar(files: dict[str, bytes], mode: str = "w", *odd: tarfile.TarInfo) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as archive:  # type: ignore[call-overload]
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
        for info in odd:
            archive.addfile(info)
    return out.getvalue()


def make_idx(array: NDArray[Any], *, packed: bool = False) -> bytes:
    types = {"|u1": 8, "|i1": 9, ">i2": 11, ">i4": 12, ">f4": 13, ">f8": 14}
    head = struct.pack(">BBBB", 0, 0, types[array.dtype.str], array.ndim)
    content = head + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()
    return gzip.compress(content) if packed else content


def make_npz(**arrays: Any) -> bytes:
    out = io.BytesIO()
    np.savez_compressed(out, **arrays)
    return out.getvalue()


def pixels_of(folder: Path, column: str = "image") -> list[NDArray[np.uint8] | None]:
    """The pictures of a column, (C, H, W) each, as a job would read them."""
    pixels = np.fromfile(folder / "pixels.bin", np.uint8)
    cells = duckdb.sql(f"SELECT \"{column}\" FROM '{folder}/table.parquet'").fetchall()
    return [None if cell is None else cut(pixels, cell) for (cell,) in cells]


def cut(pixels: NDArray[np.uint8], cell: dict[str, Any]) -> NDArray[np.uint8]:
    shape = (cell["channels"], cell["height"], cell["width"])
    start = cell["start"]
    return pixels[start : start + int(np.prod(shape))].reshape(shape)
