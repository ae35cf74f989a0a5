"""What the cells of each column mean, which of them are wrong, and the table form.

A column is a number column where every cell is a number, boolean where every cell is true or
false, time where every cell is an ISO 8601 date or timestamp. In a column of numbers, a few cells
that are not (at most half of them, and at most ten or a tenth) are bad rows rather than a reason
to call the column text. A column without a value counts as numbers.
"""

# ruff: noqa: S608 - names are quoted, and this DuckDB is locked into one folder

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from math import isfinite, isnan
from pathlib import Path
from typing import Any, cast

from duckdb import DuckDBPyConnection

from app.datasets.staging import (
    MAX_PROBLEMS,
    Problem,
    Staged,
    batch_columns,
    copy_rows,
    quote_name,
    quote_text,
)
from app.specs.data import ColumnKind

FEW = 10
GIVEN = ("boolean", "time", "image", "sequence")  # where a format knows, nobody asks the cells
BOOLEANS = "['true', 'false', 'True', 'False', 'TRUE', 'FALSE']"


@dataclass(frozen=True)
class Meaning:
    """`kind` is "text" where only the number of distinct values can tell more."""

    kind: ColumnKind
    has_nan: bool = False


@dataclass(frozen=True)
class NumberCounts:
    present: int
    numbers: int
    low: float | None
    high: float | None  # NaN counts as higher than infinity
    grouped: bool  # whether some cell has an underscore: DuckDB would read 1_000

    @property
    def is_plain(self) -> bool:
        bounds = [self.low or 0.0, self.high or 0.0]
        return self.present == self.numbers and not self.grouped and all(map(isfinite, bounds))


def infer_kinds(connection: DuckDBPyConnection, staged: Staged) -> list[Meaning]:
    """What every column holds. Adds what is wrong to `staged.problems`."""
    meanings: dict[int, Meaning] = {}
    for columns in batch_columns(len(staged.names)):
        numeric = [i for i in columns if staged.kinds[i] in (None, "number")]
        for i, row in _ask(connection, staged, numeric, _count_numbers):
            meaning = _read_numbers(connection, staged, i, NumberCounts(*row))
            if meaning:
                meanings[i] = meaning
        for i in columns:
            if staged.kinds[i] in GIVEN:
                meanings[i] = Meaning(cast(ColumnKind, staged.kinds[i]))
        textual = [i for i in columns if i not in meanings]
        for i, row in _ask(connection, staged, textual, _count_texts):
            meanings[i] = _read_text(connection, staged, i, *row)
    return [meanings[i] for i in range(len(staged.names))]


def write_table(
    connection: DuckDBPyConnection, staged: Staged, meanings: Sequence[Meaning], path: Path
) -> None:
    cells = ", ".join(
        f"{_convert(i, meaning)} AS {quote_name(name)}"
        for i, (name, meaning) in enumerate(zip(staged.names, meanings, strict=True))
    )
    width = len(meanings) + _count_steps(connection, staged, meanings)
    copy_rows(connection, f"SELECT {cells} FROM {_source(staged)}", path, width)


def _count_steps(
    connection: DuckDBPyConnection, staged: Staged, meanings: Sequence[Meaning]
) -> int:
    """Numbers in the longest sequences of a row."""
    cells = [f"c{i}" for i, meaning in enumerate(meanings) if meaning.kind == "sequence"]
    if not cells:
        return 0
    longest = " + ".join(f"coalesce(max(len({cell}) * len({cell}[1])), 0)" for cell in cells)
    query = f"SELECT {longest} FROM {_source(staged)}"
    return int(connection.execute(query).fetchall()[0][0])


def _source(staged: Staged) -> str:
    return f"read_parquet({quote_text(staged.path)}, file_row_number=true)"


def _ask(
    connection: DuckDBPyConnection,
    staged: Staged,
    columns: Sequence[int],
    ask: Callable[[str], list[str]],
) -> Iterator[tuple[int, Sequence[Any]]]:
    """The aggregates that `ask` names, for each of `columns`, in one query."""
    if not columns:
        return
    parts = [ask(f"c{i}") for i in columns]
    query = f"SELECT {', '.join(chain.from_iterable(parts))} FROM {_source(staged)}"
    row = connection.execute(query).fetchall()[0]
    width = len(parts[0])
    for place, i in enumerate(columns):
        yield i, row[place * width : (place + 1) * width]


# ---------------------------------------------------------------- numbers


def _count_numbers(cell: str) -> list[str]:
    number = f"TRY_CAST({cell} AS DOUBLE)"
    return [
        f"count({cell})",
        f"count({number})",
        f"min({number})",
        f"max({number})",
        f"coalesce(bool_or(contains({cell}::VARCHAR, '_')), false)",
    ]


def _read_numbers(
    connection: DuckDBPyConnection, staged: Staged, i: int, counts: NumberCounts
) -> Meaning | None:
    """None: this is a column of text."""
    if counts.is_plain:
        return Meaning("number")
    cell = f"c{i}"
    number = f"TRY_CAST({cell} AS DOUBLE)"
    odd = f"{cell} IS NOT NULL AND ({number} IS NULL OR contains({cell}::VARCHAR, '_'))"
    odds = _count(connection, staged, odd)
    if staged.kinds[i] is None and not _are_few(odds, counts.present):
        return None
    _add(connection, staged, i, odd, odds, ("text in numbers", "not_a_number"))
    infinite = f"isinf({number})"
    infinities = _count(connection, staged, infinite)
    _add(connection, staged, i, infinite, infinities, ("number too large", "not_finite"))
    return Meaning("number", has_nan=counts.high is not None and isnan(counts.high))


def _are_few(odd: int, present: int) -> bool:
    return odd <= present // 2 and odd <= max(FEW, present // 10)


def _count(connection: DuckDBPyConnection, staged: Staged, condition: str) -> int:
    query = f"SELECT count(*) FROM {_source(staged)} WHERE {condition}"
    return int(connection.execute(query).fetchall()[0][0])


# ---------------------------------------------------------------- text


def _count_texts(cell: str) -> list[str]:
    # FILTER would say the same, in a time that grows with the square of the columns.
    tests = [
        f"list_contains({BOOLEANS}, trim({cell}))",
        f"trim({cell}) LIKE '____-__-__%' AND TRY_CAST(trim({cell}) AS TIMESTAMP) IS NOT NULL",
        f"contains({cell}, chr(0))",
    ]
    return [f"count({cell})", *[f"count(CASE WHEN {test} THEN 1 END)" for test in tests]]


def _read_text(
    connection: DuckDBPyConnection,
    staged: Staged,
    i: int,
    present: int,
    booleans: int,
    times: int,
    with_nul: int,
) -> Meaning:
    nul = f"contains(c{i}, chr(0))"
    _add(connection, staged, i, nul, with_nul, ("a NUL character", "nul_character"))
    if staged.kinds[i] is None and present == booleans > 0:
        return Meaning("boolean")
    return Meaning("time" if present == times > 0 else "text")


# ---------------------------------------------------------------- what is wrong


def _add(
    connection: DuckDBPyConnection,
    staged: Staged,
    i: int,
    condition: str,
    total: int,
    what: tuple[str, str],
) -> None:
    if not total:
        return
    rows = connection.execute(
        f"SELECT file_row_number + 1 FROM {_source(staged)} WHERE {condition}"
        f" ORDER BY 1 LIMIT {MAX_PROBLEMS}"
    ).fetchall()
    column = staged.names[i]
    staged.problems.add([Problem(*what, row=row, column=column) for (row,) in rows], total)


def _convert(i: int, meaning: Meaning) -> str:
    match meaning.kind:
        case "number":
            number = f"TRY_CAST(c{i} AS DOUBLE)"
            return f"nullif({number}, 'nan'::DOUBLE)" if meaning.has_nan else number
        case "boolean":
            return f"lower(trim(c{i}))"
        case "time":
            return f"trim(c{i})"
    return f"c{i}"
