"""Parquet with columns of numbers, text, booleans, dates and times, and of lists of numbers."""

# ruff: noqa: S608 - names are quoted, and this DuckDB is locked into one folder

import re
from collections.abc import Sequence
from pathlib import Path

import duckdb
from duckdb import DuckDBPyConnection

from app.datasets.lists import check_lists, read_typed_lists
from app.datasets.staging import (
    Problem,
    Problems,
    Rejected,
    Staged,
    check_names,
    copy_rows,
    quote_name,
    quote_text,
)
from app.specs.data import ColumnKind

SUFFIXES = (".parquet", ".pq", ".parq")
MAGIC = b"PAR1"
NUMBERS = r"(U?(TINYINT|SMALLINT|INTEGER|BIGINT|HUGEINT)|FLOAT|DOUBLE|DECIMAL\(\d+,\d+\))"
TIME = re.compile(r"DATE|TIMESTAMP(_S|_MS|_NS)?( WITH TIME ZONE)?")
TEXT = re.compile(r"VARCHAR|UUID|TIME( WITH TIME ZONE)?|ENUM\(.*\)", re.DOTALL)


def looks_like(head: bytes, _names: Sequence[str]) -> bool:
    return head.startswith(MAGIC)


def read(connection: DuckDBPyConnection, original: Path, staged: Path) -> Staged:
    _check_magic(original)
    source = f"read_parquet({quote_text(original)})"
    try:
        types = connection.execute(f"DESCRIBE SELECT * FROM {source}").fetchall()
        columns = [(str(name), str(kind)) for name, kind, *_ in types]
        names = [name for name, _ in columns]
        check_names(names)
        kinds = _find_kinds(columns)
        cells = ", ".join(
            f"{_cell(quote_name(name), kind, type)} AS c{i}"
            for i, ((name, type), kind) in enumerate(zip(columns, kinds, strict=True))
        )
        problems = _check_sequences(connection, original, columns, kinds)
        if problems.total:
            return Staged(staged, [], [], problems, lambda rows: rows)
        copy_rows(connection, f"SELECT {cells} FROM {source}", staged, len(names))
    except (duckdb.OutOfMemoryException, Rejected):
        raise
    except duckdb.Error as error:
        raise Rejected("The Parquet file is damaged or not readable.") from error
    return Staged(staged, names, kinds, Problems(), lambda rows: rows)


def _check_magic(original: Path) -> None:
    with original.open("rb") as file:
        head = file.read(4)
    if head == b"PARE":
        raise Rejected("The Parquet file is encrypted.")
    if head != MAGIC:
        raise Rejected("This is not a Parquet file.")


def _find_kinds(columns: list[tuple[str, str]]) -> list[ColumnKind]:
    kinds = [_find_kind(kind) for _, kind in columns]
    problems = [
        Problem(
            f"type {kind[:40]} is not supported: use flat columns, or lists of numbers",
            "type",
            column=name,
        )
        for (name, kind), found in zip(columns, kinds, strict=True)
        if found is None
    ]
    if problems:
        raise Rejected("Some columns are of types that are not supported.", *problems)
    return [kind for kind in kinds if kind is not None]


def _find_kind(kind: str) -> ColumnKind | None:
    patterns: list[tuple[re.Pattern[str], ColumnKind]] = [
        (re.compile(NUMBERS), "number"),
        (re.compile(rf"{NUMBERS}(\[\]){{1,2}}"), "sequence"),
        (re.compile("BOOLEAN"), "boolean"),
        (TIME, "time"),
        (TEXT, "text"),
    ]
    return next((name for pattern, name in patterns if pattern.fullmatch(kind)), None)


def _check_sequences(
    connection: DuckDBPyConnection,
    original: Path,
    columns: list[tuple[str, str]],
    kinds: list[ColumnKind],
) -> Problems:
    source = f"read_parquet({quote_text(original)}, file_row_number=true)"
    problems = Problems()
    for (name, type), kind in zip(columns, kinds, strict=True):
        if kind == "sequence":
            lists = read_typed_lists(quote_name(name), type.count("[]"))
            check_lists(connection, source, name, lists, problems)
    return problems


def _cell(name: str, kind: ColumnKind, type: str) -> str:
    if kind == "sequence":
        return read_typed_lists(name, type.count("[]")).steps
    if kind == "number":
        return f"CASE WHEN isnan({name}::DOUBLE) THEN NULL ELSE {name}::DOUBLE END"
    return f"{name}::VARCHAR"
