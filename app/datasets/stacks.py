"""A table whose columns are arrays, part after part."""

# ruff: noqa: S608 - names are quoted, and this DuckDB is locked into one folder

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from duckdb import DuckDBPyConnection
from numpy.typing import NDArray
from PIL import Image

from app.datasets.album import hold_texts
from app.datasets.arrays import CHANNELS, Array, find_role, read_chunks, refuse_array
from app.datasets.pictures import MAX_SIDE, Pixels, shrink, to_planes
from app.datasets.pixels import PICTURE, PixelFile
from app.datasets.staging import (
    MAX_PROBLEMS,
    Problem,
    Problems,
    Rejected,
    Staged,
    check_names,
    copy_rows,
)
from app.specs.data import ColumnKind

SPLIT = "split"
WORDS = ("train", "validation", "test")
KINDS: dict[str, ColumnKind] = {"b": "boolean", "M": "time", "U": "text", "S": "text"}


@dataclass(frozen=True)
class Stack:
    """A column: one array for each part of the data, in the order of the parts."""

    name: str
    arrays: Sequence[Array]


def refuse_uneven(stacks: Sequence[Stack]) -> None:
    """Every array of a part has as many rows as the others."""
    for arrays in zip(*(stack.arrays for stack in stacks), strict=True):
        if len({array.rows for array in arrays}) > 1:
            problems = [
                Problem(f"it has {array.rows} rows", "length", member=array.name)
                for array in arrays
            ]
            raise Rejected("The arrays are not all of one length.", *problems)


def write_stacks(
    connection: DuckDBPyConnection,
    staged: Path,
    stacks: Sequence[Stack],
    parts: Sequence[str] | None,
) -> Staged:
    """The rows of all parts; where there are parts, a column `split` names them."""
    rows = [array.rows for array in stacks[0].arrays]
    names = [stack.name for stack in stacks]
    check_names([*names, SPLIT] if parts else names)
    problems = Problems()
    kinds: list[ColumnKind] = []
    cells: list[str] = []
    with PixelFile(staged.with_name("original")) as pixels:
        for i, stack in enumerate(stacks):
            cell, kind = _read_stack(connection, stack, i, pixels, problems)
            cells.append(cell)
            kinds.append(kind)
    if parts:
        words = np.repeat(np.array(parts, dtype=object), rows)
        connection.register("parts", {"v": words})
        cells.append(f"(SELECT v::VARCHAR AS c{len(names)} FROM parts)")
        names, kinds = [*names, SPLIT], [*kinds, "text"]
    copy_rows(connection, f"SELECT * FROM {' POSITIONAL JOIN '.join(cells)}", staged, len(names))
    return Staged(staged, names, kinds, problems, list)


def _read_stack(
    connection: DuckDBPyConnection, stack: Stack, i: int, pixels: PixelFile, problems: Problems
) -> tuple[str, ColumnKind]:
    """A subquery for the column `c<i>`, and its kind."""
    roles = {find_role(array) for array in stack.arrays}
    if len(roles) > 1:
        raise refuse_array(stack.arrays[1], "its parts are of different kinds")
    match roles.pop():
        case "image":
            return _read_pictures(connection, stack, i, pixels), "image"
        case "sequence":
            return _read_sequences(connection, stack, i, problems), "sequence"
    return _read_values(connection, stack, i)


# ---------------------------------------------------------------- single values


def _read_values(connection: DuckDBPyConnection, stack: Stack, i: int) -> tuple[str, ColumnKind]:
    kinds = {KINDS.get(array.dtype.kind, "number") for array in stack.arrays}
    if len(kinds) > 1:
        raise refuse_array(stack.arrays[1], "its parts are of different kinds")
    chunks = [_to_cells(array, chunk) for array in stack.arrays for chunk in read_chunks(array)]
    connection.register(f"values_{i}", {"v": np.concatenate(chunks)})
    kind = kinds.pop()
    cell = "CASE WHEN isnan(v) THEN NULL ELSE v END" if kind == "number" else "v::VARCHAR"
    return f"(SELECT {cell} AS c{i} FROM values_{i})", kind


def _to_cells(array: Array, chunk: NDArray[Any]) -> NDArray[Any]:
    """(n,) float64, or Python text where it is no number."""
    flat = chunk.reshape(-1)
    match array.dtype.kind:
        case "b":
            return hold_texts(["true" if value else "false" for value in flat.tolist()])
        case "M":
            texts = np.datetime_as_string(flat.astype("datetime64[us]")).tolist()
            return hold_texts([None if text == "NaT" else text for text in texts])
        case "U" | "S":
            return hold_texts(_decode(array, flat))
    return flat.astype(np.float64)


def _decode(array: Array, flat: NDArray[Any]) -> list[str]:
    try:
        texts = np.char.decode(flat, "utf-8") if array.dtype.kind == "S" else flat
        return [text.encode().decode() for text in texts.tolist()]
    except (UnicodeError, ValueError) as error:
        raise refuse_array(array, "its text is not UTF-8") from error


# ---------------------------------------------------------------- pictures


def _read_pictures(connection: DuckDBPyConnection, stack: Stack, i: int, pixels: PixelFile) -> str:
    facts: dict[str, list[NDArray[Any]]] = {
        name: [] for name in ("name", "start", "channels", "height", "width")
    }
    for array in stack.arrays:
        row = 0
        for chunk in read_chunks(array):
            planes = _shrink_all(_to_planes(chunk))  # (n, C, H, W)
            count, *sides = planes.shape
            starts = pixels.add(planes) + np.arange(count) * planes[0].nbytes
            names = hold_texts([f"{array.name}[{n}]" for n in range(row, row + count)])
            values = [names, starts, *(np.full(count, side, np.int32) for side in sides)]
            for known, value in zip(facts.values(), values, strict=True):
                known.append(value)
            row += count
    view = {name: np.concatenate(values) for name, values in facts.items()}
    connection.register(f"pictures_{i}", view)
    return f"(SELECT {PICTURE} AS c{i} FROM pictures_{i})"


def _to_planes(chunk: NDArray[Any]) -> Pixels:
    """(n, H, W), (n, H, W, C) or (n, C, H, W) to (n, C, H, W)."""
    if chunk.ndim == 3:
        return chunk[:, None]
    return chunk.transpose(0, 3, 1, 2) if chunk.shape[3] in CHANNELS else chunk


def _shrink_all(planes: Pixels) -> Pixels:
    if max(planes.shape[2:]) <= MAX_SIDE:
        return planes
    return np.stack([to_planes(shrink(_to_image(picture))) for picture in planes])


def _to_image(planes: Pixels) -> Image.Image:
    if len(planes) == 1:
        return Image.fromarray(planes[0])
    return Image.fromarray(np.ascontiguousarray(planes.transpose(1, 2, 0)))


# ---------------------------------------------------------------- sequences


def _read_sequences(
    connection: DuckDBPyConnection, stack: Stack, i: int, problems: Problems
) -> str:
    widths = {_count_width(array) for array in stack.arrays}
    if len(widths) > 1:
        raise refuse_array(stack.arrays[1], "its parts have steps of different width")
    width = widths.pop()
    connection.execute(f"CREATE TEMP TABLE sequences_{i} (c{i} DOUBLE[][])")
    row = 1
    for chunk in _read_sequence_chunks(stack):
        _add_non_finite(problems, chunk, row, stack.name)
        _insert(connection, f"sequences_{i}", chunk, width)
        row += len(chunk)
    return f"sequences_{i}"


def _count_width(array: Array) -> int:
    return array.shape[2] if len(array.shape) == 3 else 1


def _read_sequence_chunks(stack: Stack) -> Iterator[NDArray[np.float64]]:
    """(n, steps x width) in order, few enough for DuckDB to sort."""
    for array in stack.arrays:
        for chunk in read_chunks(array):
            flat = chunk.reshape(len(chunk), -1)
            step = max(1, 2**20 // flat.shape[1])
            for start in range(0, len(flat), step):
                yield flat[start : start + step].astype(np.float64)


def _add_non_finite(problems: Problems, chunk: NDArray[np.float64], row: int, column: str) -> None:
    bad = np.flatnonzero(~np.isfinite(chunk).all(1)) + row
    message = "NaN or infinity in a sequence"
    first = [int(place) for place in bad[:MAX_PROBLEMS]]
    problems.add([Problem(message, "not_finite", row=r, column=column) for r in first], len(bad))


def _insert(
    connection: DuckDBPyConnection, table: str, chunk: NDArray[np.float64], width: int
) -> None:
    rows, numbers = chunk.shape
    order = {"i": np.repeat(np.arange(rows), numbers), "j": np.arange(chunk.size)}
    connection.register("numbers", {**order, "v": chunk.reshape(-1)})
    steps = f"[v[t * {width} + 1 : (t + 1) * {width}] FOR t IN range({numbers // width})]"
    connection.execute(
        f"INSERT INTO {table} SELECT {steps} FROM"
        " (SELECT i, list(v ORDER BY j) AS v FROM numbers GROUP BY i ORDER BY i)"
    )
    connection.unregister("numbers")
