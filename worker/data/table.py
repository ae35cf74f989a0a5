"""Reads columns of a dataset's Parquet table into raw columns."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import numpy.ma  # duckdb imports it with its first answer, in every job anew
import torch

from app.specs.data import ColumnKind
from worker.data.cells import Block, CellError, RawColumn, to_number, to_text
from worker.data.image import Images
from worker.data.sequence import Sequences
from worker.engine.errors import DataError

Columns = dict[str, RawColumn]
PIXELS = "pixels.bin"  # beside the table
WIDE = 256  # duckdb checks each selected name against all others: from here, take all columns


def read_columns(path: Path, kinds: dict[str, ColumnKind], threads: int) -> Columns:
    """The columns named in `kinds`, each read as that kind whatever the file holds.

    Raises DataError for a column that is absent and for a cell that is not a number in a number
    column.
    """
    with duckdb.connect(":memory:", config={"threads": threads}) as connection:
        table = connection.read_parquet(str(path))
        refuse_absent(kinds, table.columns)
        blocks = {
            name: BLOCKS[kind](table, name, path) for name, kind in kinds.items() if kind in BLOCKS
        }
        plain = [name for name in kinds if name not in blocks]
        if len(plain) < WIDE or blocks:
            table = table.select(*map(duckdb.ColumnExpression, plain))
        arrays = table.fetchnumpy() if plain else {}
    return {
        name: blocks[name] if name in blocks else to_raw(name, kind, arrays.pop(name))
        for name, kind in kinds.items()
    }


def read_images(table: duckdb.DuckDBPyRelation, name: str, path: Path) -> Images:
    """The pixels stay in their file, which is mapped."""
    column = duckdb.ColumnExpression(name)
    fields = [
        duckdb.FunctionExpression("struct_extract", column, duckdb.ConstantExpression(field))
        for field in ("start", "channels", "height", "width")
    ]
    named = [field.alias(f"f{number}") for number, field in enumerate(fields)]
    arrays = table.select(*named).fetchnumpy().values()
    starts, *sizes = (torch.from_numpy(np.ma.filled(each.astype(np.int64), -1)) for each in arrays)
    return Images(map_pixels(path.with_name(PIXELS)), starts, torch.stack(sizes, 1))


def map_pixels(path: Path) -> torch.Tensor:
    size = path.stat().st_size if path.exists() else 0
    if size == 0:  # nothing can be mapped: every picture is missing
        return torch.empty(0, dtype=torch.uint8)
    return torch.from_file(str(path), shared=False, size=size, dtype=torch.uint8)


def read_sequences(table: duckdb.DuckDBPyRelation, name: str, _path: Path) -> Sequences:
    """All steps one after another; DuckDB keeps the order of the rows."""
    call, cell = duckdb.FunctionExpression, duckdb.ColumnExpression(name)
    counts = table.select(call("len", cell).alias("n")).fetchnumpy()["n"]
    flat = table.select(call("unnest", call("flatten", cell)).alias("v")).fetchnumpy()["v"]
    lengths = torch.from_numpy(np.ma.filled(counts.astype(np.int64), 0))
    numbers = torch.from_numpy(flat.astype(np.float64))
    width = len(numbers) // max(1, int(lengths.sum()))
    return Sequences(numbers.view(-1, max(1, width)), lengths.cumsum(0) - lengths, lengths)


# How columns are read whose cells are more than one number or text.
BLOCKS: dict[str, Callable[[duckdb.DuckDBPyRelation, str, Path], Block]] = {
    "image": read_images,
    "sequence": read_sequences,
}


def refuse_absent(names: Iterable[str], present: list[str]) -> None:
    known = set(present)
    for name in names:
        if name not in known:
            raise DataError(
                f"The dataset has no column {name!r}.",
                hint=f"Its columns are {', '.join(present[:20])}.",
            )


def list_names(names: Sequence[str], link: str = ", ") -> str:
    shown = link.join(repr(name) for name in names[:10])
    return f"{shown} and {len(names) - 10} more" if len(names) > 10 else shown


def to_raw(name: str, kind: ColumnKind, array: Any, before: int = 0) -> RawColumn:
    """Cells as DuckDB gives them, with `before` rows of the file before them, to a raw column."""
    if kind == "number" and array.dtype.kind in "fiu":
        return _refuse_infinite(name, np.ma.filled(array.astype(np.float64), np.nan), before)
    cells = [None if cell is np.ma.masked else cell for cell in array.tolist()]
    if kind != "number":
        return [cell if isinstance(cell, str) else to_text(cell) for cell in cells]
    try:
        numbers = [to_number(cell, name, row) for row, cell in enumerate(cells, start=before + 1)]
    except CellError as error:
        raise DataError(
            f"Column {name!r}, row {error.row}: {error.problem}.",
            hint="The column holds numbers in the training dataset; correct the cell.",
        ) from None
    return torch.tensor(numbers, dtype=torch.float64)


def _refuse_infinite(name: str, values: Any, before: int) -> torch.Tensor:
    bad = np.flatnonzero(np.isinf(values))
    if len(bad):
        raise DataError(
            f"Column {name!r}, row {before + bad[0] + 1}: is infinite.",
            hint="Correct or empty the cell.",
        )
    return torch.from_numpy(values)


def count_rows(columns: Columns) -> int:
    return len(next(iter(columns.values())))


def find_missing(values: RawColumn) -> list[int]:
    """The rows, counted from 0, whose cell is missing."""
    if isinstance(values, torch.Tensor):
        return values.isnan().nonzero().squeeze(1).tolist()
    if isinstance(values, list):
        return [row for row, value in enumerate(values) if value is None]
    return values.find_missing()


def take_rows(columns: Columns, rows: torch.Tensor) -> Columns:
    numbers = rows.tolist()
    return {name: take(values, rows, numbers) for name, values in columns.items()}


def take(values: RawColumn, rows: torch.Tensor, numbers: list[int]) -> RawColumn:
    if isinstance(values, torch.Tensor):
        return values[rows]
    if isinstance(values, list):
        return [values[number] for number in numbers]
    return values.take(rows)
