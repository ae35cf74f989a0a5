"""JSON Lines: one object per line, in UTF-8. Keys are columns; a key left out is missing.

Lists of numbers, or of equally long lists of numbers, are sequences."""

# ruff: noqa: S608 - names are quoted, and this DuckDB is locked into one folder

import json
from collections.abc import Sequence
from functools import partial
from operator import itemgetter
from pathlib import Path
from typing import NoReturn

from duckdb import DuckDBPyConnection

from app.datasets.formats.csv import read_head, refuse_other_files
from app.datasets.lists import check_lists, read_json_lists
from app.datasets.staging import (
    MAX_PROBLEMS,
    Problem,
    Problems,
    Rejected,
    Staged,
    batch_columns,
    check_names,
    copy_rows,
    find_full_lines,
    quote_text,
    read_lines,
)
from app.specs.data import ColumnKind

SUFFIXES = (".jsonl", ".ndjson", ".json")
KINDS: dict[str, ColumnKind] = {
    "number": "number",
    "boolean": "boolean",
    "text": "text",
    "list": "sequence",
}


def looks_like(head: bytes, _names: Sequence[str]) -> bool:
    return head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{")


def read(connection: DuckDBPyConnection, original: Path, staged: Path) -> Staged:
    head = read_head(original)
    refuse_other_files(head)
    if head.lstrip().startswith(b"["):
        raise Rejected("This is one JSON array. Send one object per line instead, without [ ].")
    lines = staged.with_name("lines.parquet")
    problems = read_lines(connection, original, lines)
    source = f"read_parquet({quote_text(lines)}, file_row_number=true)"
    find = partial(find_full_lines, original)
    _check_lines(connection, source, problems)
    if problems.total:  # keys and kinds of broken lines would only mislead
        return Staged(staged, [], [], problems, find)
    names = _list_keys(connection, source)
    check_names(names)
    kinds = _read_cells(connection, source, names, staged, problems)
    lines.unlink()
    return Staged(staged, names, kinds, problems, find)


def _check_lines(connection: DuckDBPyConnection, source: str, problems: Problems) -> None:
    checks = [
        ("NOT json_valid(line)", "not a JSON object", "json"),
        ("json_valid(line) AND json_type(line) <> 'OBJECT'", "not a JSON object", "json"),
        (
            "json_valid(line) AND json_type(line) = 'OBJECT'"
            " AND len(json_keys(line)) <> len(list_distinct(json_keys(line)))",
            "a key is used twice",
            "duplicate_key",
        ),
    ]
    for condition, message, kind in checks:
        rows = _list_rows(connection, source, condition)
        total = len(rows) if len(rows) < MAX_PROBLEMS else _count(connection, source, condition)
        problems.add([Problem(message, kind, row=row) for row in rows], total)
    # DuckDB lets trailing commas, NaN and Infinity pass. The few lines that may hold one are
    # parsed again, strictly.
    suspect = r"regexp_matches(line, ',\s*[}\]]|(?i:nan|inf)')"
    cursor = connection.cursor().execute(
        f"SELECT file_row_number + 1, line FROM {source} WHERE json_valid(line) AND {suspect}"
    )
    while batch := cursor.fetchmany(1000):
        for row, line in batch:
            if not _is_strict(line):
                problems.add([Problem("NaN, Infinity or a stray comma", "json", row=row)])


def _is_strict(line: str) -> bool:
    try:
        json.loads(line, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        return False
    return True


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(name)


def _list_rows(connection: DuckDBPyConnection, source: str, condition: str) -> list[int]:
    query = (
        f"SELECT file_row_number + 1 FROM {source} WHERE {condition}"
        f" ORDER BY 1 LIMIT {MAX_PROBLEMS}"
    )
    return [row for (row,) in connection.execute(query).fetchall()]


def _count(connection: DuckDBPyConnection, source: str, condition: str) -> int:
    query = f"SELECT count(*) FROM {source} WHERE {condition}"
    return int(connection.execute(query).fetchall()[0][0])


def _list_keys(connection: DuckDBPyConnection, source: str) -> list[str]:
    """In the order of their first appearance."""
    rows = connection.execute(
        "SELECT key FROM (SELECT unnest(keys) AS key, file, unnest(range(len(keys))) AS place"
        " FROM (SELECT json_keys(line) AS keys, min(file_row_number) AS file"
        f" FROM {source} GROUP BY 1)) GROUP BY key ORDER BY min(file), arg_min(place, file)"
    ).fetchall()
    return [key for (key,) in rows]


def _read_cells(
    connection: DuckDBPyConnection, source: str, names: list[str], staged: Path, problems: Problems
) -> list[ColumnKind]:
    """Write the cells as text. The kind of a column is that of most of its cells."""
    typed = staged.with_name("typed.parquet")
    pointers = ", ".join(quote_text("/" + _escape(name)) for name in names)
    cells = ", ".join(f"cells[{i + 1}] AS c{i}" for i in range(len(names)))
    types = ", ".join(f"{_kind_of(f'types[{i + 1}]')} AS t{i}" for i in range(len(names)))
    query = (
        f"SELECT {cells}, {types} FROM (SELECT json_extract_string(line, [{pointers}]) AS cells,"
        f" json_type(line, [{pointers}]) AS types FROM {source})"
    )
    copy_rows(connection, query, typed, 2 * len(names))
    chosen = _choose_kinds(connection, typed, names, problems)
    table = f"read_parquet({quote_text(typed)}, file_row_number=true)"
    typed_cells = []
    for i, kind in enumerate(chosen):
        cell = f"CASE WHEN t{i} = {quote_text(kind)} THEN c{i} END"
        if kind == "list":
            lists = read_json_lists(cell)
            check_lists(connection, table, names[i], lists, problems)
            cell = lists.steps
        typed_cells.append(f"{cell} AS c{i}")
    copy_rows(connection, f"SELECT {', '.join(typed_cells)} FROM {table}", staged, len(names))
    typed.unlink()
    return [KINDS[kind] for kind in chosen]


def _kind_of(json_type: str) -> str:
    return (
        f"CASE WHEN {json_type} = 'VARCHAR' THEN 'text' WHEN {json_type} = 'BOOLEAN' THEN 'boolean'"
        f" WHEN {json_type} = 'OBJECT' THEN 'nested' WHEN {json_type} = 'ARRAY' THEN 'list'"
        f" WHEN {json_type} <> 'NULL' THEN 'number' END"
    )


def _escape(name: str) -> str:
    return name.replace("~", "~0").replace("/", "~1")


def _choose_kinds(
    connection: DuckDBPyConnection, typed: Path, names: list[str], problems: Problems
) -> list[str]:
    source = f"read_parquet({quote_text(typed)}, file_row_number=true)"
    kinds: list[str] = []
    for columns in batch_columns(len(names)):
        tests = [f"t{i} = '{kind}'" for i in columns for kind in (*KINDS, "nested")]
        counts = ", ".join(f"count(CASE WHEN {test} THEN 1 END)" for test in tests)
        row = connection.execute(f"SELECT {counts} FROM {source}").fetchall()[0]
        width = len(KINDS) + 1
        for place, i in enumerate(columns):
            own = row[place * width : (place + 1) * width]
            kind, count = max(zip(KINDS, own, strict=False), key=itemgetter(1))
            if count < sum(own):
                odd = f"t{i} <> {quote_text(kind)}"
                _add_odd(connection, source, odd, (i, names[i], kind), problems, sum(own) - count)
            kinds.append(kind)
    return kinds


def _add_odd(
    connection: DuckDBPyConnection,
    source: str,
    odd: str,
    column: tuple[int, str, str],
    problems: Problems,
    total: int,
) -> None:
    i, name, kind = column
    rows = connection.execute(
        f"SELECT file_row_number + 1, t{i} FROM {source} WHERE {odd}"
        f" ORDER BY 1 LIMIT {MAX_PROBLEMS}"
    ).fetchall()
    problems.add([_describe(row, name, own, kind) for row, own in rows], total)


def _describe(row: int, name: str, kind: str, expected: str) -> Problem:
    message = f"{kind} in a {expected} column"
    type = "nested" if kind in ("nested", "list") else "mixed_column"
    return Problem(message, type, row=row, column=name)
