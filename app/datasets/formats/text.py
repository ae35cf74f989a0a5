"""Plain text in UTF-8: every line that is not blank is a row of the column `text`."""

# ruff: noqa: S608 - names are quoted, and this DuckDB is locked into one folder

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from duckdb import DuckDBPyConnection

from app.datasets.formats.csv import read_head, refuse_other_files
from app.datasets.staging import (
    Staged,
    copy_rows,
    find_full_lines,
    quote_text,
    read_lines,
)

SUFFIXES = (".txt", ".text")
COLUMN = "text"


def looks_like(_head: bytes, _names: Sequence[str]) -> bool:
    return False  # so does every other table


def read(connection: DuckDBPyConnection, original: Path, staged: Path) -> Staged:
    refuse_other_files(read_head(original))
    lines = staged.with_name("lines.parquet")
    problems = read_lines(connection, original, lines)
    query = f"SELECT trim(line, ' \t\r') AS c0 FROM read_parquet({quote_text(lines)})"
    copy_rows(connection, query, staged, 1)
    lines.unlink()
    return Staged(staged, [COLUMN], ["text"], problems, partial(find_full_lines, original))
