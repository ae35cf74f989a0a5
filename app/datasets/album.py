"""The pictures of an archive, decoded one after another."""

# ruff: noqa: S608 - names are quoted, and this DuckDB is locked into one folder

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from duckdb import DuckDBPyConnection
from numpy.typing import NDArray

from app.datasets.archive import DAMAGE, Member, read_members
from app.datasets.pictures import BadPicture, HugePicture, Pixels, decode
from app.datasets.pixels import PICTURE, PixelFile
from app.datasets.staging import Problem, Problems, Rejected

MAX_FILE_BYTES = 256 * 2**20


@dataclass
class Album:
    """Name, place in `pixels.bin` and (C, H, W) of every picture, in the archive's order."""

    names: list[str] = field(default_factory=list)
    starts: list[int] = field(default_factory=list)
    shapes: list[tuple[int, int, int]] = field(default_factory=list)


def read_album(original: Path, wanted: Collection[str], problems: Problems) -> Album:
    """Write the pictures named in `wanted`; those that cannot be read become problems."""
    album = Album()
    with PixelFile(original) as file:
        for member in read_members(original):
            if member.name not in wanted:
                continue
            pixels = _read_picture(member, problems)
            if pixels is None:
                continue
            channels, height, width = pixels.shape
            album.names.append(member.name)
            album.starts.append(file.add(pixels))
            album.shapes.append((channels, height, width))
    return album


def _read_picture(member: Member, problems: Problems) -> Pixels | None:
    name = member.name
    try:
        return decode(_read_bytes(member))
    except HugePicture as error:
        message = f"The picture {error}: it might be a bomb. Scale it down."
        problem = Problem(str(error), "too_many_pixels", member=name)
        raise Rejected(message, problem, kind="archive-unsafe") from error
    except BadPicture as error:
        problems.add([Problem(str(error), "picture", member=name)])
    except DAMAGE:
        problems.add([Problem("its bytes in the archive are damaged", "damaged", member=name)])
    return None


def _read_bytes(member: Member) -> bytes:
    if member.size_bytes > MAX_FILE_BYTES:
        raise BadPicture(f"it has more than {MAX_FILE_BYTES} bytes")
    with member.open() as file:
        return file.read(MAX_FILE_BYTES)


def register_album(connection: DuckDBPyConnection, album: Album) -> None:
    """A view `pictures` of `i` (from 0) and `picture`, for queries."""
    sides = np.array(album.shapes, dtype=np.int32).reshape(-1, 3)
    raw = {
        "i": np.arange(len(album.names)),
        "name": hold_texts(album.names),
        "start": np.array(album.starts, dtype=np.int64),
        "channels": sides[:, 0].copy(),
        "height": sides[:, 1].copy(),
        "width": sides[:, 2].copy(),
    }
    connection.register("album", raw)
    connection.execute(f"CREATE TEMP VIEW pictures AS SELECT i, {PICTURE} AS picture FROM album")


def hold_texts(texts: Sequence[str | None]) -> NDArray[np.object_]:
    """As DuckDB reads them from NumPy: one object a cell."""
    cells = np.empty(len(texts), dtype=object)
    cells[:] = texts
    return cells
