"""Reads a table a few rows at a time, in order, so that it need not fit memory."""

# ruff: noqa: S608 - names and paths are quoted

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import duckdb
from duckdb import DuckDBPyConnection

from app.specs.data import ColumnKind
from worker.data.table import Columns, refuse_absent, to_raw
from worker.engine.reporter import Reporter, heed_stop

CHUNK_CELLS = 5_000_000  # read at once: more than uploads are stored with in a row group
CHUNK_TEXTS, CHUNK_TEXT_BYTES = 20_000, 8 * 2**20  # at most
MEMORY_LIMIT = "512MB"  # of DuckDB, for the row groups it is reading


def count_table_rows(path: Path) -> int:
    with connect(1) as connection:
        return int(connection.execute(f"SELECT count(*) FROM {quote(path)}").fetchall()[0][0])


def read_chunks(
    path: Path, kinds: dict[str, ColumnKind], threads: int, reporter: Reporter
) -> Iterator[tuple[int, Columns]]:
    """The number of the first row, from 0, and some rows from there on, column by column, which
    are gone with the next.

    Raises DataError as `read_columns` does, and Stopped: a large table takes minutes.
    """
    with connect(threads) as connection:
        refuse_absent(kinds, connection.read_parquet(str(path)).columns)
        names = ", ".join(quote(name, '"') for name in kinds)
        for first, last in plan_chunks(list_row_groups(connection, path), kinds):
            heed_stop(reporter)
            query = (
                f"SELECT {names} FROM read_parquet({quote(path)}, file_row_number=true)"
                f" WHERE file_row_number >= {first} AND file_row_number < {last}"
            )
            arrays = connection.execute(query).fetchnumpy()
            columns = {
                name: to_raw(name, kind, arrays.pop(name), first) for name, kind in kinds.items()
            }
            yield first, columns
            columns.clear()  # whoever reads holds on to it while the next chunk is read


def connect(threads: int) -> DuckDBPyConnection:
    return duckdb.connect(
        ":memory:",
        config={
            "threads": threads,
            "memory_limit": MEMORY_LIMIT,
            "enable_external_file_cache": False,
        },
    )


def quote(text: str | Path, mark: str = "'") -> str:
    return mark + str(text).replace(mark, 2 * mark) + mark


def list_row_groups(connection: DuckDBPyConnection, path: Path) -> list[tuple[int, int]]:
    """Rows and bytes of each."""
    query = (
        "SELECT any_value(row_group_num_rows), sum(total_uncompressed_size)::BIGINT"
        f" FROM parquet_metadata({quote(path)}) GROUP BY row_group_id ORDER BY row_group_id"
    )
    return connection.execute(query).fetchall()


def plan_chunks(
    groups: list[tuple[int, int]], kinds: dict[str, ColumnKind]
) -> Iterator[tuple[int, int]]:
    """No chunk reaches over two row groups: each would be read twice."""
    first, text = 0, "text" in kinds.values()
    most = max(1, CHUNK_CELLS // len(kinds))
    for rows, size_bytes in groups:
        pieces = -(-rows // most)
        if text:
            pieces = max(pieces, -(-rows // CHUNK_TEXTS), size_bytes // CHUNK_TEXT_BYTES)
        pieces = min(pieces, rows)
        cuts = [first + rows * piece // pieces for piece in range(pieces + 1)] if rows else []
        yield from pairwise(cuts)
        first += rows
