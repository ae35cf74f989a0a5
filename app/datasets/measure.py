"""What is known of each column of a table form.

Text is a category where it has at most 10,000 distinct values, at most max(20, half the rows) of
them, and 64 characters on average. Distinct values are counted and listed up to about 15,000;
beyond that their number is an estimate.
"""

# ruff: noqa: S608 - names are quoted, and this DuckDB is locked into one folder

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any

from duckdb import DuckDBPyConnection

from app.datasets.nested import NESTED
from app.datasets.staging import batch_columns, quote_name, quote_text
from app.specs.columns import Column
from app.specs.data import ColumnKind

MAX_CATEGORIES = 10_000
MAX_CATEGORY_LENGTH = 64
MAX_VALUES = 100
MAX_VALUE_LENGTH = 256
COUNTED_EXACTLY = 15_000
EXACT_INTEGERS = 2**53


@dataclass(frozen=True)
class Totals:
    rows: int
    present: int
    first_missing_row: int | None
    distinct: int  # an estimate
    mean_length: float | None
    min: float | None
    max: float | None
    mean: float | None
    whole: bool | None


@dataclass(frozen=True)
class Values:
    distinct: int
    rarest: int
    common: list[tuple[str, int]]


def count_rows(connection: DuckDBPyConnection, table: Path) -> int:
    query = f"SELECT count(*) FROM read_parquet({quote_text(table)})"
    return int(connection.execute(query).fetchall()[0][0])


def measure_columns(
    connection: DuckDBPyConnection, table: Path, names: Sequence[str], kinds: Sequence[ColumnKind]
) -> list[Column]:
    """In order. Pictures and sequences are measured one by one, the others in batches."""
    measured = {
        name: measure(connection, table, name)
        for name, kind in zip(names, kinds, strict=True)
        if (measure := NESTED.get(kind))
    }
    flat = [pair for pair in zip(names, kinds, strict=True) if pair[0] not in measured]
    measured |= {column.name: column for column in _measure_flat(connection, table, flat)}
    return [measured[name] for name in names]


def _measure_flat(
    connection: DuckDBPyConnection, table: Path, pairs: Sequence[tuple[str, ColumnKind]]
) -> list[Column]:
    columns: list[Column] = []
    for places in batch_columns(len(pairs)):
        batch = [pairs[i] for i in places]
        all_totals = _total(connection, table, batch)
        few = [
            name
            for (name, _), totals in zip(batch, all_totals, strict=True)
            if totals.distinct <= COUNTED_EXACTLY
        ]
        values = _count_values(connection, table, few)
        columns += [
            _describe(name, kind, totals, values.get(name))
            for (name, kind), totals in zip(batch, all_totals, strict=True)
        ]
    return columns


def _total(
    connection: DuckDBPyConnection, table: Path, batch: Sequence[tuple[str, ColumnKind]]
) -> list[Totals]:
    parts = [part for name, kind in batch for part in _total_column(quote_name(name), kind)]
    source = f"read_parquet({quote_text(table)}, file_row_number=true)"
    row = connection.execute(f"SELECT {', '.join(parts)} FROM {source}").fetchall()[0]
    width = len(parts) // len(batch)
    return [Totals(*row[start : start + width]) for start in range(0, len(row), width)]


def _total_column(cell: str, kind: ColumnKind) -> list[str]:
    number = kind == "number"
    return [
        "count(*)",
        f"count({cell})",
        f"min(CASE WHEN {cell} IS NULL THEN file_row_number END) + 1",
        f"approx_count_distinct({cell})",
        "NULL" if number else f"avg(length({cell}))",
        f"min({cell})" if number else "NULL",
        f"max({cell})" if number else "NULL",
        f"favg({cell})" if number else "NULL",
        f"bool_and({cell} = floor({cell}) AND abs({cell}) <= {EXACT_INTEGERS})"
        if number
        else "NULL",
    ]


def _describe(name: str, kind: ColumnKind, totals: Totals, counts: dict[Any, int] | None) -> Column:
    integer = kind == "number" and bool(totals.whole)
    if counts is None:
        values = Values(min(totals.distinct, totals.present), 0, [])
    else:
        values = _list_values(counts)
    if kind == "text" and _is_category(totals, values.distinct):
        kind = "category"
    listed = kind != "time" and (kind != "number" or integer)
    return Column(
        name=name,
        kind=kind,
        integer=integer,
        missing=totals.rows - totals.present,
        first_missing_row=totals.first_missing_row,
        distinct=values.distinct,
        rarest=values.rarest,
        min=totals.min,
        max=totals.max,
        mean=totals.mean if totals.mean is not None and isfinite(totals.mean) else None,
        values=values.common if listed else [],
    )


def _is_category(totals: Totals, distinct: int) -> bool:
    few = distinct <= MAX_CATEGORIES and distinct <= max(20, totals.rows / 2)
    return few and (totals.mean_length or 0) <= MAX_CATEGORY_LENGTH


def _count_values(
    connection: DuckDBPyConnection, table: Path, names: Sequence[str]
) -> dict[str, dict[Any, int]]:
    if not names:
        return {}
    parts = ", ".join(f"histogram({quote_name(name)})" for name in names)
    query = f"SELECT {parts} FROM read_parquet({quote_text(table)})"
    row = connection.execute(query).fetchall()[0]
    return {name: counts or {} for name, counts in zip(names, row, strict=True)}


def _list_values(counts: dict[Any, int]) -> Values:
    ordered = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    shown = [(value if isinstance(value, str) else f"{value:.0f}", n) for value, n in ordered]
    common = [(value, n) for value, n in shown[:MAX_VALUES] if len(value) <= MAX_VALUE_LENGTH]
    return Values(len(counts), min(counts.values(), default=0), common)
