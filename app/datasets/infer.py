"""What the cells of each column mean, which of them are wrong, and the table form.

A column is a number column where every cell is a number, boolean where every cell is true or
false, time where every cell is an ISO 8601 date or timestamp. In a column of numbers, a few cells
that are not (at most half of them, and at most ten or a tenth) are bad rows rather than a reason
to call the column text. A column without a value counts as numbers.
"""

# ruff: noqa: S608 - names are quoted, and this DuckDB is locked into one folder

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from duckdb import DuckDBPyConnection

from app.datasets.staging import MAX_PROBLEMS, Problem, Staged, copy_rows, quote_name, quote_text
from app.specs.data import ColumnKind

COLUMNS_PER_QUERY = 25
FEW = 10
BOOLEANS = "['true', 'false', 'True', 'False', 'TRUE', 'FALSE']"
# DuckDB also reads 1_000 as a number.
NUMBER = "CASE WHEN contains({c}, '_') THEN NULL ELSE TRY_CAST({c} AS DOUBLE) END"
TIME = "{c} LIKE '____-__-__%' AND TRY_CAST({c} AS TIMESTAMP) IS NOT NULL"


@dataclass(frozen=True)
class Counts:
    """Cells of a text column that are there, and as what they can be read."""

    present: int
    numbers: int
    infinite: int
    not_numbers: int  # NaN, however it is spelt
    booleans: int
    times: int
    with_nul: int


@dataclass(frozen=True)
class Meaning:
    """`kind` is "text" where only the number of distinct values can tell more."""

    kind: ColumnKind
    has_nan: bool = False


def infer_kinds(connection: DuckDBPyConnection, staged: Staged) -> list[Meaning]:
    """What every column holds. Adds what is wrong to `staged.problems`."""
    meanings: list[Meaning] = []
    for start in range(0, len(staged.names), COLUMNS_PER_QUERY):
        columns = range(start, min(start + COLUMNS_PER_QUERY, len(staged.names)))
        all_counts = _count(connection, staged, columns)
        for i, counts in zip(columns, all_counts, strict=True):
            kind = staged.kinds[i] or _choose_kind(counts)
            kind = "time" if kind == "text" and counts.present == counts.times > 0 else kind
            _report(connection, staged, i, kind, counts)
            meanings.append(Meaning(kind, has_nan=counts.not_numbers > 0))
    return meanings


def write_table(
    connection: DuckDBPyConnection, staged: Staged, meanings: Sequence[Meaning], path: Path
) -> None:
    cells = ", ".join(
        f"{_convert(i, meaning)} AS {quote_name(name)}"
        for i, (name, meaning) in enumerate(zip(staged.names, meanings, strict=True))
    )
    copy_rows(connection, f"SELECT {cells} FROM {_source(staged)}", path, len(meanings))


def _source(staged: Staged) -> str:
    return f"read_parquet({quote_text(staged.path)}, file_row_number=true)"


def _as_number(i: int) -> str:
    return NUMBER.format(c=f"CAST(c{i} AS VARCHAR)")


def _count(connection: DuckDBPyConnection, staged: Staged, columns: range) -> list[Counts]:
    parts = [part for i in columns for part in _count_column(i, staged.kinds[i])]
    row: Sequence[Any] = connection.execute(
        f"SELECT {', '.join(parts)} FROM {_source(staged)}"
    ).fetchall()[0]
    width = len(parts) // len(columns)
    return [Counts(*row[start : start + width]) for start in range(0, len(row), width)]


def _count_column(i: int, kind: ColumnKind | None) -> list[str]:
    never, cell = "false", f"c{i}"
    number = _as_number(i) if kind is None else f"TRY_CAST({cell} AS DOUBLE)"
    numeric = kind in (None, "number")
    textual = kind in (None, "text")
    tests = [
        f"{cell} IS NOT NULL",
        f"({number}) IS NOT NULL" if numeric else never,
        f"isinf({number})" if numeric else never,
        f"isnan({number})" if numeric else never,
        f"list_contains({BOOLEANS}, trim({cell}))" if kind is None else never,
        TIME.format(c=f"trim({cell})") if textual else never,
        f"contains({cell}, chr(0))" if textual else never,
    ]
    # FILTER would say the same, in a time that grows with the square of the columns.
    return [f"count(CASE WHEN {test} THEN 1 END)" for test in tests]


def _choose_kind(counts: Counts) -> ColumnKind:
    odd = counts.present - counts.numbers
    if counts.present == counts.booleans > 0:
        return "boolean"
    if odd == 0 or (odd <= counts.present // 2 and odd <= max(FEW, counts.present // 10)):
        return "number"
    return "text"


def _report(
    connection: DuckDBPyConnection, staged: Staged, i: int, kind: ColumnKind, counts: Counts
) -> None:
    cell, number = f"c{i}", _as_number(i)
    if kind == "number":
        odd = counts.present - counts.numbers
        wrong = f"{cell} IS NOT NULL AND ({number}) IS NULL"
        _add(connection, staged, i, wrong, odd, ("text in numbers", "not_a_number"))
        infinite = f"isinf({number})"
        _add(connection, staged, i, infinite, counts.infinite, ("number too large", "not_finite"))
    elif kind == "text":
        nul = f"contains({cell}, chr(0))"
        _add(connection, staged, i, nul, counts.with_nul, ("a NUL character", "nul_character"))


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
