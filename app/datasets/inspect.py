"""Reads one upload in a process of its own: `python -m app.datasets.inspect FOLDER LIMIT < pipe`.

FOLDER holds the upload as `original`. On success `table.parquet` and `preview.jsonl` lie beside
it, and `pixels.bin` where there are pictures, and the columns are printed as one JSON document;
else what is wrong with the file. The process limits its own memory and time before it looks at the
file, may touch nothing but FOLDER, and ends when its standard input does, which is when whoever
started it is gone.
"""

# ruff: noqa: S608 - names are quoted, and this DuckDB is locked into one folder

import errno
import json
import os
import resource
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import psutil
from duckdb import DuckDBPyConnection

from app.datasets.archive import peek_names
from app.datasets.formats import HEAD_BYTES, guess_format, load_format
from app.datasets.infer import infer_kinds, write_table
from app.datasets.measure import count_rows, measure_columns
from app.datasets.staging import (
    MAX_PROBLEMS,
    MAX_RATIO,
    Problem,
    Problems,
    Rejected,
    Staged,
    allowed_bytes,
    quote_name,
    quote_text,
)
from app.specs.columns import Column
from app.specs.data import ColumnKind, DatasetFormat

MEMORY_BYTES = 2 * 2**30  # of DuckDB; what does not fit is spilled into the folder
ADDRESS_SPACE_BYTES = 6 * 2**30
THREADS = 2
MIN_ROWS = 2
PREVIEW_ROWS = 1000
PREVIEW_TEXT = 1000
PREVIEW_STEPS = 8
BYTES_OF = {"VARCHAR": "strlen({})", "DOUBLE[][]": "8 * len(flatten({}))"}
PREVIEW_PICTURE = ("name", "height", "width", "channels", "start")


def main() -> None:
    folder, seconds = Path(sys.argv[1]), int(sys.argv[2])
    request = json.loads(sys.argv[3])
    threading.Thread(target=_die_with_parent, daemon=True).start()
    _limit_resources(seconds)
    print(json.dumps(inspect(folder, request["filename"], request["format"])), flush=True)  # noqa: T201
    os._exit(0)  # nothing is left to save, and DuckDB would report its own bookkeeping


def _die_with_parent() -> None:
    os.read(sys.stdin.fileno(), 1)
    os._exit(1)


def _limit_resources(seconds: int) -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CPU, (THREADS * seconds, THREADS * seconds))
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE_BYTES, ADDRESS_SPACE_BYTES))


def inspect(folder: Path, filename: str, format: DatasetFormat | None) -> dict[str, Any]:
    """What `main` prints: {"format", "rows", "columns"} or {"problem", "message", "errors"}."""
    original = folder / "original"
    try:
        if format is None:
            with original.open("rb") as file:
                format = guess_format(filename, file.read(HEAD_BYTES), peek_names(original))
        with connect(folder) as connection:
            rows, columns = build_table(connection, folder, format)
    except Rejected as error:
        return _refuse(error)
    except (duckdb.OutOfMemoryException, MemoryError):
        message = "Reading the file takes more memory than this server allows."
        return {"problem": "dataset-too-large", "message": message, "errors": []}
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        return {"problem": "insufficient-storage", "message": None, "errors": []}
    facts = [column.model_dump(mode="json") for column in columns]
    return {"format": format, "rows": rows, "columns": facts}


def _refuse(error: Rejected) -> dict[str, Any]:
    listed = [problem.describe() for problem in error.problems[:MAX_PROBLEMS]]
    return {"problem": error.kind, "message": str(error), "errors": listed}


def connect(folder: Path) -> DuckDBPyConnection:
    """DuckDB that can reach nothing but `folder`."""
    connection = duckdb.connect(
        config={
            "threads": THREADS,
            "memory_limit": f"{min(MEMORY_BYTES, psutil.virtual_memory().total // 4)}B",
            "temp_directory": str(folder / "spill"),
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
            "allow_community_extensions": False,
            "enable_external_file_cache": False,
        }
    )
    connection.execute(f"SET allowed_directories = [{quote_text(f'{folder}/')}]")
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")
    return connection


def build_table(
    connection: DuckDBPyConnection, folder: Path, format: DatasetFormat
) -> tuple[int, list[Column]]:
    table = folder / "table.parquet"
    staged = load_format(format).read(connection, folder / "original", folder / "staged.parquet")
    meanings = infer_kinds(connection, staged)
    _refuse_problems(staged)
    rows = count_rows(connection, staged.path)
    if rows < MIN_ROWS:
        raise Rejected(f"Rows of data in the file: {rows}. At least {MIN_ROWS} are needed.")
    _refuse_bomb(connection, staged, (folder / "original").stat().st_size)
    write_table(connection, staged, meanings, table)
    staged.path.unlink()
    kinds = [meaning.kind for meaning in meanings]
    columns = measure_columns(connection, table, staged.names, kinds)
    write_preview(connection, table, columns)
    return rows, columns


def _refuse_problems(staged: Staged) -> None:
    problems = staged.problems
    if not problems.total:
        return
    listed = _locate(staged, problems)[:MAX_PROBLEMS]
    count = "1 problem" if problems.total == 1 else f"{problems.total} problems"
    more = "" if len(listed) == problems.total else f"; the first {len(listed)} are listed"
    raise Rejected(f"The file has {count}{more}.", *listed)


def _locate(staged: Staged, problems: Problems) -> list[Problem]:
    """Give every problem its line, and sort by it."""
    rows = sorted({problem.row for problem in problems.first if problem.row is not None})
    lines = dict(zip(rows, staged.find_lines(rows), strict=True)) if rows else {}
    located = [
        replace(p, line=p.line or lines.get(p.row or 0), member=p.member or staged.member)
        for p in problems.first
    ]
    return sorted(located, key=lambda p: (p.member or "", p.line or 0, p.column or ""))


def _refuse_bomb(connection: DuckDBPyConnection, staged: Staged, size_bytes: int) -> None:
    source = quote_text(staged.path)
    types = connection.execute(f"DESCRIBE FROM {source}").fetchall()
    sizes = [
        f"coalesce(sum({BYTES_OF[kind].format(name)}), 0)"
        for name, kind, *_ in types
        if kind in BYTES_OF
    ]
    sums = connection.execute(f"SELECT {', '.join([*sizes, '0'])} FROM {source}").fetchall()[0]
    if sum(sums) > allowed_bytes(size_bytes):
        message = f"The table is more than {MAX_RATIO} times as large as the file."
        raise Rejected(message, kind="dataset-too-large")


def write_preview(connection: DuckDBPyConnection, table: Path, columns: list[Column]) -> None:
    """The first rows, one JSON list a line; long text and long sequences are cut."""
    cells = ", ".join(_preview_cell(quote_name(column.name), column.kind) for column in columns)
    query = f"SELECT {cells} FROM read_parquet({quote_text(table)}) LIMIT {PREVIEW_ROWS}"
    whole = [column.integer for column in columns]
    with (table.parent / "preview.jsonl").open("w", encoding="utf-8") as file:
        for row in connection.execute(query).fetchall():
            cells_out = [
                int(cell) if integer and cell is not None else cell
                for cell, integer in zip(row, whole, strict=True)
            ]
            file.write(json.dumps(cells_out, ensure_ascii=False) + "\n")


def _preview_cell(cell: str, kind: ColumnKind) -> str:
    match kind:
        case "number":
            return cell
        case "image":
            facts = ", ".join(f"'{fact}': {cell}.{fact}" for fact in PREVIEW_PICTURE)
            return f"CASE WHEN {cell} IS NOT NULL THEN {{{facts}}} END"
        case "sequence":
            return f"{cell}[1:{PREVIEW_STEPS}]"
    return f"left({cell}, {PREVIEW_TEXT})"


if __name__ == "__main__":
    main()
